"""`/api/catalog/*`."""

import base64
import binascii

from noetl_contract.access.rights import Right
from noetl_contract.http.catalog.entries import (
    CatalogListRequest,
    RegisterRequest,
    ResourceRequest,
)
from noetl_contract.rpc.catalog import (
    LIST,
    REGISTER,
    RESOURCE,
    UI_SCHEMA,
    EntryName,
    EntryPage,
    RegisterDocument,
)
from pydantic import BaseModel

from noetl_api_gateway.http.bodies import without_nul
from noetl_api_gateway.http.fields import path_text
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.http.shell import is_browser
from noetl_api_gateway.routes.forwarding import Sent, Topic

TOPIC = Topic("catalog")
NOT_FOUND = "Catalog entry 'demo/hello' not found"


def decode_content(content: str) -> str:
    """Return the document: decoded if the text is base64 of UTF-8, else unchanged."""
    return str(without_nul(_from_base64(content) or content))


def named_entry(sent: Sent[ResourceRequest]) -> EntryName:
    """Return the entry's name in a body."""
    body = sent.body
    return EntryName(catalog_id=body.catalog_id, path=body.path, version=body.version)


def _from_base64(content: str) -> str | None:
    try:
        decoded = base64.b64decode(content, validate=True)
        # Python takes stray trailing bits that the contract's decoder refuses.
        if base64.b64encode(decoded) != content.encode():
            return None
        return decoded.decode()
    except (binascii.Error, ValueError):
        return None


def _page(sent: Sent[CatalogListRequest]) -> EntryPage:
    body = sent.body
    return EntryPage(
        resource_type=body.resource_type,
        path=body.path,
        agent_only=body.agent_only,
        capability=body.capability,
        capabilities=body.capabilities,
        brief=body.brief,
        for_page=is_browser(sent.request.scope),
    )


def _form(sent: Sent[BaseModel]) -> EntryName:
    asked: str = sent.request.scope["path"]
    tail = path_text(sent.request, asked.removeprefix("/api/catalog/"), name="path")
    if not tail.endswith("/ui_schema"):
        raise Refusal(404, f"no route matched GET /api/catalog/{tail}")
    path = tail.removesuffix("/ui_schema")
    if not path:
        raise Refusal(422, "ui_schema path must not be empty")
    return EntryName(path=path, version=sent.text("version") or "latest")


TOPIC.forward(
    "POST /api/catalog/register",
    REGISTER,
    lambda sent: RegisterDocument(
        content=decode_content(sent.body.content),
        resource_type=sent.body.resource_type,
        newest_version=sent.body.newest_version,
    ),
    body=RegisterRequest,
    name="register",
    needs=Right.CATALOG_REGISTER,
    summary="Register a document as the next version of its path",
    description="Decode the document and hand it to the catalog.",
    errors={
        409: "The newest version of 'demo/hello' is 4, not 3",
        422: "Missing 'metadata' section",
    },
    write="catalog_register",
)
TOPIC.forward(
    "POST /api/catalog/list",
    LIST,
    _page,
    body=CatalogListRequest,
    name="list_entries",
    needs=Right.CATALOG_READ,
    summary="List all versions of all entries",
    errors={
        422: "Failed to deserialize the JSON body into the target type: resource_type:"
        " invalid type: boolean `true`, expected a string"
    },
)
# The router doesn't find the first route below the prefix of the second.
for path in ("/api/catalog/{path:path}", "/api/catalog/playbooks/{path:path}"):
    TOPIC.forward(
        f"GET {path}",
        UI_SCHEMA,
        _form,
        name="ui_schema",
        needs=Right.CATALOG_READ,
        summary="`/api/catalog/{path}/ui_schema`: the form that a document's workload asks for",
        description="Infer a form from the document of a path, which may have slashes.",
        query={"version": (str, "a number, or `latest`")},
        errors={
            404: "no route matched GET /api/catalog/demo/hello",
            422: "Invalid version number",
        },
        is_documented="/playbooks/" not in path,
    )
TOPIC.forward(
    "POST /api/catalog/resource",
    RESOURCE,
    named_entry,
    body=ResourceRequest,
    name="resource",
    needs=Right.CATALOG_READ,
    summary="Read one entry by id or path",
    description="Read one entry; `catalog_id` wins over `path`.",
    errors={404: NOT_FOUND, 422: "Either 'catalog_id' or 'path' must be provided"},
)
