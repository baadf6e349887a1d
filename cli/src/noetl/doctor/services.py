"""Checks that services answer, and that the catalog can open secrets."""

import asyncio

from noetl_bus.broker import Bus
from noetl_bus.rpc import RpcClient, RpcRefused, RpcUnavailable
from noetl_contract.json import Json
from noetl_contract.model import Shape
from noetl_contract.rpc.catalog import RUNTIME_LIVENESS, WALLET_KEY
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.operation import Operation
from noetl_contract.rpc.orchestrator import DEMAND, DemandQuery
from noetl_contract.rpc.outbox import PENDING
from noetl_contract.rpc.projector import EXECUTIONS_EXISTS, ExecutionName

from noetl.doctor.finding import Finding

_SECONDS = 3.0
_FAILING = 500


async def look_at_services(bus: Bus, *, shards: int) -> list[Finding]:
    """Ask each service, on each shard, for something that needs its database."""
    client = RpcClient(bus)
    asked = [_asked(client, RUNTIME_LIVENESS, Nothing()), _key(client)]
    for shard in range(shards):
        process = "" if shards == 1 else f"-s{shard}"
        asked += [
            _asked(client, DEMAND, DemandQuery(pool=""), shard, process),
            _asked(client, PENDING, Nothing(), shard, process),
            _asked(client, EXECUTIONS_EXISTS, ExecutionName(execution_id=0), shard, process),
        ]
    found = await asyncio.gather(*asked)
    return [one for findings in found for one in findings]


async def _asked[Request: Shape](
    client: RpcClient,
    operation: Operation[Request, Json],
    request: Request,
    shard: int | None = None,
    process: str = "",
) -> list[Finding]:
    """Ask a service of a shard, whose process has this at the end of its name."""
    service = operation.service
    where = service if shard is None else f"{service} of shard {shard}"
    try:
        # The body is of no interest, so it is not decoded.
        reply = await client.forward(operation, request, seconds=_SECONDS, shard=shard)
    except RpcUnavailable:
        return [Finding("service_silent", service + process, f"{where} does not answer")]
    if reply.status >= _FAILING:
        return [Finding("service_failing", service + process, f"{where} answers: {reply.error}")]
    return []


async def _key(client: RpcClient) -> list[Finding]:
    """Ask the catalog whether its key opens the stored secrets."""
    try:
        state = await client.ask(WALLET_KEY, Nothing(), seconds=_SECONDS)
    except (RpcUnavailable, RpcRefused):
        return []
    if state.is_usable:
        return []
    return [Finding("encryption_key_unusable", "catalog", f"catalog: {state.reason}")]
