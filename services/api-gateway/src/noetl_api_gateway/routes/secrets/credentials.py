"""`/api/credentials`, and `/api/gcp/token` (http-a 4)."""

from time import perf_counter
from typing import Any

from litestar import Response, delete, get, post
from litestar.params import FromPath
from noetl_contract.http.credentials import (
    CredentialBody,
    CredentialCreate,
    CredentialDeleted,
    CredentialListAnswer,
    SealedEnvelope,
)

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import present, read_body
from noetl_api_gateway.http.fields import path_text, query_flag, query_int, query_text
from noetl_api_gateway.http.openapi import documented
from noetl_api_gateway.http.refusals import Refusal, bad_query
from noetl_api_gateway.metrics import WRITE_DURATION, WRITES
from noetl_api_gateway.upstream.services import body_of

type Json = Any
type Object = dict[str, Json]

_EXECUTION = {
    "execution_id": (int, "in whose keychain an unknown name is looked for"),
    "parent_execution_id": (int, "kept in the audit"),
}
_NOT_FOUND = "Credential 'pg_x' not found"
_UNREADABLE = "Decryption failed: aead::Error"


@post(
    "/api/credentials",
    status_code=200,
    summary="Store a credential, or replace the one with its name",
    tags=["credentials"],
    operation_class=documented(
        CredentialCreate,
        CredentialBody,
        errors={
            422: "Failed to deserialize the JSON body into the target type: missing field `name`",
        },
    ),
)
async def create_credential(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Hand the credential over, encrypted nowhere before the service that stores it."""
    wanted = present(await read_body(request, CredentialCreate), "data")
    started = perf_counter()
    outcome = "error"
    try:
        answer = body_of(await gateway.services.catalog("credential.create", wanted))
        outcome = "ok"
    finally:
        WRITES.labels("credentials_upsert", outcome).inc()
        WRITE_DURATION.labels("credentials_upsert").observe(perf_counter() - started)
    return json_answer(request, answer)


@get(
    "/api/credentials",
    summary="List credentials without their data, newest first",
    tags=["credentials"],
    operation_class=documented(
        None,
        CredentialListAnswer,
        query={
            "type": (str, "exact type"),
            "q": (str, "part of the name or the description; `%` and `_` are wildcards"),
        },
    ),
)
async def list_credentials(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """List credentials."""
    wanted = {name: query_text(request.query_params, name) for name in ("type", "q")}
    known = {name: value for name, value in wanted.items() if value is not None}
    return json_answer(request, body_of(await gateway.services.catalog("credential.list", known)))


@get(
    "/api/credentials/{identifier:str}",
    summary="Read a credential by id or name",
    tags=["credentials"],
    operation_class=documented(
        None,
        CredentialBody,
        query={"include_data": (bool, "with the decrypted data"), **_EXECUTION},
        errors={404: _NOT_FOUND, 500: _UNREADABLE},
    ),
)
async def read_credential(
    request: AnyRequest, gateway: OpenGateway, identifier: FromPath[str]
) -> Response[bytes]:
    """Read a credential, or what an alias stands for in an execution."""
    query = request.query_params
    wanted = {
        "identifier": path_text(request, identifier, name="identifier"),
        "include_data": query_flag(query, "include_data", default=False),
        "execution_id": query_int(query, "execution_id"),
        "parent_execution_id": query_int(query, "parent_execution_id"),
    }
    return json_answer(request, body_of(await gateway.services.secret("credential.get", wanted)))


@get(
    "/api/credentials/{identifier:str}/sealed",
    summary="Read a credential so that only one worker can",
    tags=["credentials"],
    operation_class=documented(
        None,
        SealedEnvelope,
        query={"worker_id": (str, "whose registered key it is sealed for; required"), **_EXECUTION},
        errors={
            400: "Failed to deserialize query string: missing field `worker_id`",
            404: _NOT_FOUND,
        },
    ),
)
async def read_sealed_credential(
    request: AnyRequest, gateway: OpenGateway, identifier: FromPath[str]
) -> Response[bytes]:
    """Read a credential, encrypted to a worker's key."""
    query = request.query_params
    worker_id = query_text(query, "worker_id")
    if worker_id is None:
        raise bad_query("missing field `worker_id`")
    wanted = {
        "identifier": path_text(request, identifier, name="identifier"),
        "worker_id": worker_id.replace("\0", "\N{REPLACEMENT CHARACTER}"),
        "execution_id": query_int(query, "execution_id"),
        "parent_execution_id": query_int(query, "parent_execution_id"),
    }
    return json_answer(request, body_of(await gateway.services.secret("credential.sealed", wanted)))


@delete(
    "/api/credentials/{identifier:str}",
    status_code=200,
    summary="Delete a credential by id or name",
    tags=["credentials"],
    operation_class=documented(None, CredentialDeleted, errors={404: _NOT_FOUND}),
)
async def delete_credential(
    request: AnyRequest, gateway: OpenGateway, identifier: FromPath[str]
) -> Response[bytes]:
    """Delete a credential."""
    wanted = {"identifier": path_text(request, identifier, name="identifier")}
    return json_answer(
        request, body_of(await gateway.services.catalog("credential.delete", wanted))
    )


@post("/api/gcp/token", status_code=200, include_in_schema=False)
async def gcp_token() -> Response[bytes]:
    """Refuse by name: tokens come from keychain entries with `provider: gcp_iam`."""
    raise Refusal(404, "The GCP token API is not enabled")
