"""Ask the projector for the catalog entry and the workload of an execution."""

from dataclasses import dataclass, field

from noetl_common.bus.rpc import RpcClient, RpcRefused, RpcUnavailable
from noetl_common.errors import Unavailable
from noetl_contract.json import JsonObject
from noetl_contract.rpc.projector import EXECUTIONS_ORIGIN, ExecutionName
from noetl_contract.sharding import shard_for

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
        try:
            origin = await self._rpc.ask(
                EXECUTIONS_ORIGIN,
                ExecutionName(execution_id=execution_id),
                shard=shard_for(execution_id, shard_count=self._shard_count),
                seconds=_TRY_SECONDS,
                wait_for_responder=True,
            )
        except RpcRefused as error:
            if error.status == 404:
                return None
            raise Unavailable(what="the projector service") from error
        except RpcUnavailable as error:
            raise Unavailable(what="the projector service") from error
        workload = origin.workload if isinstance(origin.workload, dict) else {}
        return Execution(catalog_id=origin.catalog_id, workload=workload)
