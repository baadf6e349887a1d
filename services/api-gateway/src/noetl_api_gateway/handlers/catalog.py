"""`/api/catalog/*` (http-a 3)."""

import base64
import binascii
from time import perf_counter
from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath
from noetl_contract.http.catalog import (
    CatalogEntry,
    CatalogListAnswer,
    CatalogListRequest,
    RegisterAnswer,
    RegisterRequest,
    ResourceRequest,
)

from noetl_api_gateway.answers import json_answer
from noetl_api_gateway.bodies import read_json, without_nul
from noetl_api_gateway.edge import OpenEdge
from noetl_api_gateway.fields import flag, is_i64, require_object, text, text_or_none, wrong_type
from noetl_api_gateway.metrics import WRITE_DURATION, WRITES
from noetl_api_gateway.openapi import documented
from noetl_api_gateway.refusals import Refusal
from noetl_api_gateway.request import AnyRequest
from noetl_api_gateway.services import body_of

__all__ = ["list_entries", "no_such_catalog_route", "register", "resource"]

type Object = dict[str, Any]


@post(
    "/api/catalog/register",
    status_code=200,
    summary="Register a document as the next version of its path",
    tags=["catalog"],
    operation_class=documented(RegisterRequest, RegisterAnswer),
)
async def register(request: AnyRequest, edge: OpenEdge) -> Response[bytes]:
    """Decode the document and hand it to the catalog."""
    source = require_object(await read_json(request, unique_keys=True), name="RegisterRequest")
    content = decode_content(text(source, "content"))
    resource_type = text(source, "resource_type", default="Playbook")
    started = perf_counter()
    outcome = "error"
    try:
        reply = await edge.services.register({"content": content, "resource_type": resource_type})
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
    operation_class=documented(CatalogListRequest, CatalogListAnswer),
)
async def list_entries(request: AnyRequest, edge: OpenEdge) -> Response[bytes]:
    """List entries, newest first."""
    source = require_object(await read_json(request, unique_keys=True), name="ListRequest")
    wanted = {
        "resource_type": text_or_none(source, "resource_type"),
        "path": text_or_none(source, "path"),
        "agent_only": flag(source, "agent_only", default=False),
        "capability": text_or_none(source, "capability"),
        "capabilities": _texts_or_none(source, "capabilities"),
    }
    return json_answer(request, body_of(await edge.services.catalog("list", wanted)))


@post(
    "/api/catalog/resource",
    status_code=200,
    summary="Read one entry by id or path",
    tags=["catalog"],
    operation_class=documented(ResourceRequest, CatalogEntry),
)
async def resource(request: AnyRequest, edge: OpenEdge) -> Response[bytes]:
    """Read one entry; `catalog_id` wins over `path`."""
    source = require_object(await read_json(request, unique_keys=True), name="ResourceRequest")
    wanted = {
        "catalog_id": _text_or_integer(source, "catalog_id"),
        "path": text_or_none(source, "path"),
        "version": _text_or_integer(source, "version"),
    }
    known = {name: value for name, value in wanted.items() if value is not None}
    return json_answer(request, body_of(await edge.services.catalog("resource", known)))


@get("/api/catalog/{tail:path}", include_in_schema=False)
async def no_such_catalog_route(tail: FromPath[str]) -> Response[bytes]:
    """Answer what the contract says for every other path below the catalog."""
    raise Refusal(404, f"no route matched GET /api/catalog/{tail.lstrip('/')}")


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


def _texts_or_none(source: Object, name: str) -> list[str] | None:
    value = source.get(name)
    if value is None:
        return None
    if not isinstance(value, list):
        raise wrong_type(value, expected="a sequence", path=name)
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise wrong_type(item, expected="a string", path=f"{name}[{index}]")
    return value


def _text_or_integer(source: Object, name: str) -> str | int | None:
    value = source.get(name)
    if value is None or isinstance(value, str) or is_i64(value):
        return value
    raise wrong_type(value, expected="a string", path=name)
