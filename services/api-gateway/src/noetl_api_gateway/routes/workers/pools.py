"""`/api/worker/*`: registration and heartbeats."""

from noetl_contract.access.rights import Right
from noetl_contract.http.workers.runtimes import (
    RuntimeBeat,
    RuntimeLeave,
    RuntimeNameRequest,
    RuntimePoolsQuery,
    RuntimeRegisterRequest,
    RuntimeRegistration,
)
from noetl_contract.rpc.catalog import (
    RUNTIME_DEREGISTER,
    RUNTIME_HEARTBEAT,
    RUNTIME_POOLS,
    RUNTIME_REGISTER,
)

from noetl_api_gateway.routes.forwarding import Sent, forward

_NOT_FOUND = {404: "Runtime not found: worker_pool w-1"}
_TAGS = ["workers"]


def _registration(sent: Sent[RuntimeRegisterRequest]) -> RuntimeRegistration:
    """Mark a registration that came over HTTP; the host's name is checked and not kept."""
    body = sent.body
    return RuntimeRegistration(
        name=body.name,
        kind=body.kind,
        uri=body.uri,
        status=body.status,
        labels=body.labels,
        capabilities=body.capabilities,
        capacity=body.capacity,
        runtime=body.runtime,
        over_edge=True,
    )


ROUTES = [
    forward(
        "POST",
        "/api/worker/pool/register",
        RUNTIME_REGISTER,
        _registration,
        body=RuntimeRegisterRequest,
        name="register_worker",
        needs=Right.WORKERS_REGISTER,
        summary="Register a worker",
        description="Register a worker, or renew its registration.",
        tags=_TAGS,
        errors={422: "Invalid runtime kind: toaster"},
        write="runtime_register",
    ),
    forward(
        "POST",
        "/api/worker/pool/heartbeat",
        RUNTIME_HEARTBEAT,
        lambda sent: RuntimeBeat(name=sent.body.name, kind=sent.body.kind, over_edge=True),
        body=RuntimeNameRequest,
        name="heartbeat_worker",
        needs=Right.WORKERS_REGISTER,
        summary="Say that a worker is alive",
        description="Record that a worker is alive; a row that was lost, not one that was removed,"
        " comes back.",
        tags=_TAGS,
        errors=_NOT_FOUND,
        write="runtime_heartbeat",
    ),
    forward(
        "DELETE",
        "/api/worker/pool/deregister",
        RUNTIME_DEREGISTER,
        lambda sent: RuntimeLeave(name=sent.body.name, kind=sent.body.kind),
        body=RuntimeNameRequest,
        name="deregister_worker",
        needs=Right.WORKERS_REGISTER,
        summary="Remove a worker",
        tags=_TAGS,
        errors=_NOT_FOUND,
    ),
    forward(
        "POST",
        "/api/worker/pool/deregister",
        RUNTIME_DEREGISTER,
        lambda sent: RuntimeLeave(name=sent.body.name, kind=sent.body.kind),
        body=RuntimeNameRequest,
        name="post_deregister_worker",
        needs=Right.WORKERS_REGISTER,
        summary="Remove a worker, as real workers ask for it",
        tags=_TAGS,
        errors=_NOT_FOUND,
    ),
    forward(
        "GET",
        "/api/worker/pools",
        RUNTIME_POOLS,
        lambda sent: RuntimePoolsQuery(
            kind=sent.text("kind", "worker_pool"),
            status=sent.text("status"),
            name=sent.text("name"),
        ),
        name="list_workers",
        needs=Right.WORKERS_READ,
        summary="List registered workers",
        tags=_TAGS,
        query={
            "kind": (str, "`worker_pool` if absent"),
            "status": (str, "exactly this one"),
            "name": (str, "part of the name"),
        },
        errors={400: "Failed to deserialize query string: duplicate field `kind`"},
    ),
]
