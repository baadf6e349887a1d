"""`/api/keychain` (http-a 7)."""

from time import perf_counter
from typing import Any

from litestar import Response, delete, get, post
from litestar.params import FromPath
from noetl_contract.http.keychain import (
    KeychainEntryList,
    KeychainPutBody,
    KeychainState,
    KeychainStored,
)

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import present, read_body
from noetl_api_gateway.http.fields import path_id, path_text, query_int, query_text
from noetl_api_gateway.http.openapi import documented
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.metrics import WRITE_DURATION, WRITES
from noetl_api_gateway.upstream.services import body_of

type Json = Any
type Object = dict[str, Json]

_QUERY = {
    "execution_id": (int, "whose entry, for the scopes `local` and `shared`"),
    "scope_type": (str, "`global`, `local` or `shared`"),
}


@get(
    "/api/keychain/{catalog_id:str}/{keychain_name:str}",
    summary="Read an entry; what became of it is in `status`",
    tags=["keychain"],
    operation_class=documented(None, KeychainState, query=_QUERY),
)
async def read_keychain_entry(
    request: AnyRequest,
    gateway: OpenGateway,
    catalog_id: FromPath[str],
    keychain_name: FromPath[str],
) -> Response[bytes]:
    """Read an entry, counting its use."""
    wanted = _named(request, catalog_id, keychain_name)
    return json_answer(request, body_of(await gateway.services.secret("keychain.get", wanted)))


@post(
    "/api/keychain/{catalog_id:str}/{keychain_name:str}",
    status_code=200,
    summary="Store an entry",
    tags=["keychain"],
    operation_class=documented(
        KeychainPutBody,
        KeychainStored,
        errors={404: "Catalog entry '321000000000000001' not found (keychain_catalog_id_fkey)"},
    ),
)
async def store_keychain_entry(
    request: AnyRequest,
    gateway: OpenGateway,
    catalog_id: FromPath[str],
    keychain_name: FromPath[str],
) -> Response[bytes]:
    """Store an entry in place of the one with its name and scope."""
    named = {
        "catalog_id": path_id(catalog_id, index=0),
        "keychain_name": path_text(request, keychain_name, name="keychain_name"),
    }
    wanted = named | present(await read_body(request, KeychainPutBody), "data")
    started = perf_counter()
    outcome = "error"
    try:
        answer = body_of(await gateway.services.catalog("keychain.put", wanted))
        outcome = "ok"
    finally:
        WRITES.labels("keychain_set", outcome).inc()
        WRITE_DURATION.labels("keychain_set").observe(perf_counter() - started)
    return json_answer(request, answer)


@delete(
    "/api/keychain/{catalog_id:str}/{keychain_name:str}",
    status_code=200,
    summary="Delete an entry",
    tags=["keychain"],
    operation_class=documented(None, KeychainState, query=_QUERY),
)
async def delete_keychain_entry(
    request: AnyRequest,
    gateway: OpenGateway,
    catalog_id: FromPath[str],
    keychain_name: FromPath[str],
) -> Response[bytes]:
    """Delete an entry, if there is one."""
    wanted = _named(request, catalog_id, keychain_name)
    return json_answer(request, body_of(await gateway.services.catalog("keychain.delete", wanted)))


@get(
    "/api/keychain/catalog/{catalog_id:str}",
    summary="List the entries of a catalog entry without their values",
    tags=["keychain"],
    operation_class=documented(None, KeychainEntryList),
)
async def list_keychain_entries(
    request: AnyRequest, gateway: OpenGateway, catalog_id: FromPath[str]
) -> Response[bytes]:
    """List entries, newest first."""
    wanted = {"catalog_id": path_id(catalog_id)}
    return json_answer(request, body_of(await gateway.services.catalog("keychain.list", wanted)))


@post("/api/keychain/catalog/{catalog_id:str}", include_in_schema=False)
async def no_keychain_post() -> Response[bytes]:
    """Refuse as the contract does: the static segment wins over an id (http-a 1.5)."""
    raise Refusal(405, "Method Not Allowed", headers={"allow": "GET,HEAD"})


def _named(request: AnyRequest, catalog_id: str, keychain_name: str) -> Object:
    query = request.query_params
    return {
        "catalog_id": path_id(catalog_id, index=0),
        "keychain_name": path_text(request, keychain_name, name="keychain_name"),
        "execution_id": query_int(query, "execution_id"),
        "scope_type": query_text(query, "scope_type") or "global",
    }
