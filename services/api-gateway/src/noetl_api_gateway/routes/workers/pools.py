"""`/api/worker/*`: registration and heartbeats."""

import asyncio

from litestar import Response
from noetl_contract.access.rights import Right
from noetl_contract.http.workers.runtimes import (
    RunningCommand,
    RuntimeBeat,
    RuntimeBeatAnswer,
    RuntimeBeatRequest,
    RuntimeLeave,
    RuntimeNameRequest,
    RuntimePoolsQuery,
    RuntimeRegisterAnswer,
    RuntimeRegisterRequest,
    RuntimeRegistration,
)
from noetl_contract.json import parse
from noetl_contract.rpc.catalog import (
    RUNTIME_DEREGISTER,
    RUNTIME_HEARTBEAT,
    RUNTIME_POOLS,
    RUNTIME_REGISTER,
)
from noetl_contract.rpc.orchestrator import RUNS_OVER, RunsQuery

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.routes.forwarding import Topic, measured
from noetl_api_gateway.upstream.services import Services

_OVER_SECONDS = 2.0
_NOT_FOUND = {404: "Runtime not found: worker_pool w-1"}
_NOT_OURS = {403: "Runtime worker_pool w-1 was registered by another caller"}
TOPIC = Topic("workers")


@TOPIC.route(
    "POST /api/worker/pool/register",
    RuntimeRegisterAnswer,
    body=RuntimeRegisterRequest,
    needs=Right.WORKERS_REGISTER,
    summary="Register a worker",
    description="Register a worker, or renew its registration. Who has `command_reports` in its"
    " `runtime` is told whether this edge takes `POST /api/commands/{event_id}/reports`.",
    errors={422: "Invalid runtime kind: toaster"},
)
async def register_worker(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Register a worker over HTTP; the host's name is checked and not stored."""
    body = await read_body(request, RuntimeRegisterRequest)
    registration = RuntimeRegistration(
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
    with measured("runtime_register"):
        answer = parse(await gateway.services.forward(RUNTIME_REGISTER, registration))
    runtime = body.runtime
    if isinstance(runtime, dict) and runtime.get("command_reports") is True:
        answer = {**answer, "command_reports": True}
    return json_answer(request, answer)


@TOPIC.route(
    "POST /api/worker/pool/heartbeat",
    RuntimeBeatAnswer,
    body=RuntimeBeatRequest,
    needs=Right.WORKERS_REGISTER,
    summary="Say that a worker is alive",
    description="Record that a worker is alive; a row that was lost, not one that was removed,"
    " comes back. A worker that names its runs learns which of them are over.",
    errors=_NOT_FOUND,
)
async def heartbeat_worker(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Record a heartbeat, and answer with those of its runs that are over."""
    sent = await read_body(request, RuntimeBeatRequest)
    beat = RuntimeBeat(name=sent.name, kind=sent.kind, over_edge=True)
    with measured("runtime_heartbeat"):
        answer = parse(await gateway.services.forward(RUNTIME_HEARTBEAT, beat))
    if sent.commands:
        over = await _over(gateway.services, sent.commands)
        answer = {**answer, "over": [run.model_dump() for run in over]}
    if sent.command_reports:
        answer = {**answer, "command_reports": True}
    return json_answer(request, answer)


async def _over(services: Services, runs: list[RunningCommand]) -> list[RunningCommand]:
    """Return the runs that are over; those of silent shards are left to the next heartbeat."""
    by_shard: dict[int, list[RunningCommand]] = {}
    for run in runs:
        by_shard.setdefault(services.shard_of(run.execution_id), []).append(run)

    async def ask(shard: int, there: list[RunningCommand]) -> list[RunningCommand]:
        try:
            found = await services.ask(
                RUNS_OVER, RunsQuery(runs=there), shard=shard, within=_OVER_SECONDS
            )
        except Refusal:
            return []
        return found.over

    found = await asyncio.gather(*(ask(shard, there) for shard, there in by_shard.items()))
    return [run for part in found for run in part]


TOPIC.forward(
    "DELETE /api/worker/pool/deregister",
    RUNTIME_DEREGISTER,
    lambda sent: RuntimeLeave(name=sent.body.name, kind=sent.body.kind),
    body=RuntimeNameRequest,
    name="deregister_worker",
    needs=Right.WORKERS_REGISTER,
    summary="Remove a worker",
    errors=_NOT_FOUND | _NOT_OURS,
)
TOPIC.forward(
    "POST /api/worker/pool/deregister",
    RUNTIME_DEREGISTER,
    lambda sent: RuntimeLeave(name=sent.body.name, kind=sent.body.kind),
    body=RuntimeNameRequest,
    name="post_deregister_worker",
    needs=Right.WORKERS_REGISTER,
    summary="Remove a worker, as real workers ask for it",
    errors=_NOT_FOUND | _NOT_OURS,
)
TOPIC.forward(
    "GET /api/worker/pools",
    RUNTIME_POOLS,
    lambda sent: RuntimePoolsQuery(
        kind=sent.text("kind", "worker_pool"),
        status=sent.text("status"),
        name=sent.text("name"),
    ),
    name="list_workers",
    needs=Right.WORKERS_READ,
    summary="List registered workers",
    query={
        "kind": (str, "`worker_pool` if absent"),
        "status": (str, "exactly this one"),
        "name": (str, "part of the name"),
    },
    errors={400: "Failed to deserialize query string: duplicate field `kind`"},
)
