"""`/api/worker/*` (http-a 11, worker 5)."""

from time import perf_counter
from typing import Any

from litestar import Response, delete, get, post
from noetl_contract.http.runtime import (
    RuntimeAcknowledgement,
    RuntimeEntry,
    RuntimeNameRequest,
    RuntimeRegisterRequest,
)

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.fields import query_text
from noetl_api_gateway.http.openapi import documented
from noetl_api_gateway.metrics import WRITE_DURATION, WRITES
from noetl_api_gateway.upstream.services import body_of

type Object = dict[str, Any]

_NOT_FOUND = "Runtime not found: worker_pool w-1"


@post(
    "/api/worker/pool/register",
    status_code=200,
    summary="Register a worker",
    tags=["workers"],
    operation_class=documented(
        RuntimeRegisterRequest,
        RuntimeEntry,
        errors={422: "Invalid runtime kind: toaster"},
    ),
)
async def register_worker(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Register a worker, or renew its registration."""
    wanted = dict(await read_body(request, RuntimeRegisterRequest)) | {"over_edge": True}
    del wanted["hostname"]  # checked and not kept, as ever
    return await _written(request, gateway, "runtime.register", wanted, "runtime_register")


@post(
    "/api/worker/pool/heartbeat",
    status_code=200,
    summary="Say that a worker is alive",
    tags=["workers"],
    operation_class=documented(
        RuntimeNameRequest, RuntimeAcknowledgement, errors={404: _NOT_FOUND}
    ),
)
async def heartbeat_worker(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Record that a worker is alive; a row that was lost, not one that was removed, comes back."""
    wanted = dict(await read_body(request, RuntimeNameRequest)) | {"over_edge": True}
    return await _written(request, gateway, "runtime.heartbeat", wanted, "runtime_heartbeat")


@delete(
    "/api/worker/pool/deregister",
    status_code=200,
    summary="Remove a worker",
    tags=["workers"],
    operation_class=documented(
        RuntimeNameRequest, RuntimeAcknowledgement, errors={404: _NOT_FOUND}
    ),
)
async def deregister_worker(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Remove a worker."""
    return await _deregistered(request, gateway)


@post(
    "/api/worker/pool/deregister",
    status_code=200,
    summary="Remove a worker, as real workers ask for it",
    tags=["workers"],
    operation_class=documented(
        RuntimeNameRequest, RuntimeAcknowledgement, errors={404: _NOT_FOUND}
    ),
)
async def post_deregister_worker(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Remove a worker."""
    return await _deregistered(request, gateway)


@get(
    "/api/worker/pools",
    summary="List registered workers",
    tags=["workers"],
    operation_class=documented(
        None,
        list[RuntimeEntry],
        query={
            "kind": (str, "`worker_pool` if absent"),
            "status": (str, "exactly this one"),
            "name": (str, "part of the name"),
        },
        errors={400: "Failed to deserialize query string: duplicate field `kind`"},
    ),
)
async def list_workers(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """List runtimes of a kind."""
    query = request.query_params
    wanted = {name: query_text(query, name) for name in ("kind", "status", "name")}
    known = {name: value for name, value in wanted.items() if value is not None}
    return json_answer(request, body_of(await gateway.services.catalog("runtime.pools", known)))


async def _deregistered(request: AnyRequest, gateway: Gateway) -> Response[bytes]:
    wanted = dict(await read_body(request, RuntimeNameRequest))
    reply = await gateway.services.catalog("runtime.deregister", wanted)
    return json_answer(request, body_of(reply))


async def _written(
    request: AnyRequest, gateway: Gateway, operation: str, wanted: Object, endpoint: str
) -> Response[bytes]:
    started = perf_counter()
    outcome = "error"
    try:
        body = body_of(await gateway.services.catalog(operation, wanted))
        outcome = "ok"
    finally:
        WRITES.labels(endpoint, outcome).inc()
        WRITE_DURATION.labels(endpoint).observe(perf_counter() - started)
    return json_answer(request, body)
