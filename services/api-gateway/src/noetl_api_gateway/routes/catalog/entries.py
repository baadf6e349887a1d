"""`/api/catalog/*`."""

import base64
import binascii
from time import perf_counter

from litestar import Response, get, post
from litestar.params import FromPath
from noetl_contract.http.catalog.entries import (
    CatalogEntry,
    CatalogListAnswer,
    CatalogListRequest,
    RegisterAnswer,
    RegisterRequest,
    ResourceRequest,
    UiSchema,
)
from noetl_contract.rpc import catalog

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest, without_nul
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.fields import path_text, query_text
from noetl_api_gateway.http.openapi import documented
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.http.shell import is_browser
from noetl_api_gateway.metrics import WRITE_DURATION, WRITES
from noetl_api_gateway.routes.forwarding import Forward, forwarding
from noetl_api_gateway.upstream.services import body_of

_NOT_FOUND = "Catalog entry 'demo/hello' not found"


@post(
    "/api/catalog/register",
    status_code=200,
    summary="Register a document as the next version of its path",
    tags=["catalog"],
    operation_class=documented(
        RegisterRequest,
        RegisterAnswer,
        errors={
            400: "Failed to parse the request body as JSON: EOF while parsing a value"
            " at line 1 column 0",
            413: "Failed to buffer the request body: length limit exceeded",
            415: "Expected request with `Content-Type: application/json`",
            422: "Missing 'metadata' section",
        },
    ),
)
async def register(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Decode the document and hand it to the catalog."""
    sent = await read_body(request, RegisterRequest)
    document = {
        "content": decode_content(sent.content),
        "resource_type": sent.resource_type,
    }
    started = perf_counter()
    outcome = "error"
    try:
        reply = await gateway.services.register(document)
        body = body_of(reply)
        outcome = "ok"
    finally:
        WRITES.labels("catalog_register", outcome).inc()
        WRITE_DURATION.labels("catalog_register").observe(perf_counter() - started)
    return json_answer(request, body)


@post(
    "/api/catalog/list",
    status_code=200,
    summary="List all versions of all entries",
    tags=["catalog"],
    operation_class=documented(
        CatalogListRequest,
        CatalogListAnswer,
        errors={
            422: "Failed to deserialize the JSON body into the target type: resource_type:"
            " invalid type: boolean `true`, expected a string"
        },
    ),
)
async def list_entries(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """List entries, newest first."""
    wanted = dict(await read_body(request, CatalogListRequest))
    if is_browser(request.scope):
        wanted["for_page"] = True
    return json_answer(request, body_of(await gateway.services.catalog("list", wanted)))


@get(
    "/api/catalog/{path:path}",
    summary="`/api/catalog/{path}/ui_schema`: the form that a document's workload asks for",
    tags=["catalog"],
    operation_class=documented(
        None,
        UiSchema,
        query={"version": (str, "a number, or `latest`")},
        errors={
            404: "no route matched GET /api/catalog/demo/hello",
            422: "Invalid version number",
        },
    ),
)
async def ui_schema(
    request: AnyRequest,
    gateway: OpenGateway,
    path: FromPath[str],  # noqa: ARG001 -- for the description
) -> Response[bytes]:
    """Infer a form from the document of a path, which may have slashes."""
    return await _ui_schema(request, gateway)


@get("/api/catalog/playbooks/{path:path}", include_in_schema=False)
async def ui_schema_below_playbooks(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Infer a form; the router doesn't find the other route below this prefix."""
    return await _ui_schema(request, gateway)


async def _ui_schema(request: AnyRequest, gateway: Gateway) -> Response[bytes]:
    asked: str = request.scope["path"]
    tail = path_text(request, asked.removeprefix("/api/catalog/"), name="path")
    if not tail.endswith("/ui_schema"):
        raise Refusal(404, f"no route matched GET /api/catalog/{tail}")
    wanted = {
        "path": tail.removesuffix("/ui_schema"),
        "version": query_text(request.query_params, "version") or "latest",
    }
    if not wanted["path"]:
        raise Refusal(422, "ui_schema path must not be empty")
    return json_answer(request, body_of(await gateway.services.catalog("ui_schema", wanted)))


def decode_content(content: str) -> str:
    """Return the document: decoded when the text is base64 of UTF-8, else as it stands."""
    return str(without_nul(_from_base64(content) or content))


def _from_base64(content: str) -> str | None:
    try:
        decoded = base64.b64decode(content, validate=True)
        # Python takes stray trailing bits that the contract's decoder refuses.
        if base64.b64encode(decoded) != content.encode():
            return None
        return decoded.decode()
    except (binascii.Error, ValueError):
        return None


ROUTES = [
    register,
    list_entries,
    ui_schema,
    ui_schema_below_playbooks,
    *forwarding(
        Forward(
            method="POST",
            path="/api/catalog/resource",
            name="resource",
            operation=catalog.RESOURCE,
            body=ResourceRequest,
            answer=CatalogEntry,
            summary="Read one entry by id or path",
            description="Read one entry; `catalog_id` wins over `path`.",
            tags=["catalog"],
            errors={404: _NOT_FOUND, 422: "Either 'catalog_id' or 'path' must be provided"},
        ),
    ),
]
