"""`/api/worker/*`: registration and heartbeats."""

from noetl_contract.http.workers.runtimes import (
    RuntimeAcknowledgement,
    RuntimeEntry,
    RuntimeNameRequest,
    RuntimeRegisterRequest,
)
from noetl_contract.json import JsonObject
from noetl_contract.rpc import catalog

from noetl_api_gateway.routes.forwarding import Forward, Query, forwarding

_NOT_FOUND = {404: "Runtime not found: worker_pool w-1"}
_TAGS = ["workers"]


def _over_http(wanted: JsonObject) -> JsonObject:
    """Mark a message that came over HTTP; the host's name is checked and not kept."""
    wanted.pop("hostname", None)
    return wanted | {"over_edge": True}


ROUTES = forwarding(
    Forward(
        method="POST",
        path="/api/worker/pool/register",
        name="register_worker",
        operation=catalog.RUNTIME_REGISTER,
        body=RuntimeRegisterRequest,
        prepare=_over_http,
        answer=RuntimeEntry,
        summary="Register a worker",
        description="Register a worker, or renew its registration.",
        tags=_TAGS,
        errors={422: "Invalid runtime kind: toaster"},
        write="runtime_register",
    ),
    Forward(
        method="POST",
        path="/api/worker/pool/heartbeat",
        name="heartbeat_worker",
        operation=catalog.RUNTIME_HEARTBEAT,
        body=RuntimeNameRequest,
        prepare=_over_http,
        answer=RuntimeAcknowledgement,
        summary="Say that a worker is alive",
        description="Record that a worker is alive; a row that was lost, not one that was removed,"
        " comes back.",
        tags=_TAGS,
        errors=_NOT_FOUND,
        write="runtime_heartbeat",
    ),
    Forward(
        method="DELETE",
        path="/api/worker/pool/deregister",
        name="deregister_worker",
        operation=catalog.RUNTIME_DEREGISTER,
        body=RuntimeNameRequest,
        answer=RuntimeAcknowledgement,
        summary="Remove a worker",
        description="Remove a worker.",
        tags=_TAGS,
        errors=_NOT_FOUND,
    ),
    Forward(
        method="POST",
        path="/api/worker/pool/deregister",
        name="post_deregister_worker",
        operation=catalog.RUNTIME_DEREGISTER,
        body=RuntimeNameRequest,
        answer=RuntimeAcknowledgement,
        summary="Remove a worker, as real workers ask for it",
        description="Remove a worker.",
        tags=_TAGS,
        errors=_NOT_FOUND,
    ),
    Forward(
        method="GET",
        path="/api/worker/pools",
        name="list_workers",
        operation=catalog.RUNTIME_POOLS,
        answer=list[RuntimeEntry],
        summary="List registered workers",
        description="List runtimes of a kind.",
        tags=_TAGS,
        query={
            "kind": Query(str, "`worker_pool` if absent"),
            "status": Query(str, "exactly this one"),
            "name": Query(str, "part of the name"),
        },
        errors={400: "Failed to deserialize query string: duplicate field `kind`"},
    ),
)
