"""The start of an execution, asked of the projector."""

from dataclasses import dataclass, field

from noetl_common.bus.rpc import RpcClient, RpcUnavailable
from noetl_common.errors import Unavailable
from noetl_contract.json import JsonObject
from noetl_contract.sharding import shard_for
from noetl_contract.subjects import rpc_subject

_TRY_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Execution:
    """The catalog entry and the workload that an execution began with."""

    catalog_id: int
    workload: JsonObject = field(repr=False)


class Executions:
    """Client of the projector of an execution's shard."""

    def __init__(self, rpc: RpcClient, *, shard_count: int) -> None:
        self._rpc = rpc
        self._shard_count = shard_count

    async def find(self, execution_id: int) -> Execution | None:
        """Return how an execution began; None when there is no such execution.

        Raises:
            Unavailable: its shard does not answer.
        """
        shard = shard_for(execution_id, shard_count=self._shard_count)
        subject = rpc_subject("projector", "executions.origin", shard=shard)
        try:
            reply = await self._rpc.call(
                subject,
                {"execution_id": execution_id},
                timeout=_TRY_SECONDS,
                wait_for_responder=True,
            )
        except RpcUnavailable as error:
            raise Unavailable(what="the projector service") from error
        if reply.status == 404:
            return None
        if reply.status != 200:
            raise Unavailable(what="the projector service")
        workload = reply.body["workload"]
        return Execution(
            catalog_id=int(reply.body["catalog_id"]),
            workload=workload if isinstance(workload, dict) else {},
        )
