"""Status of executions, from the projectors of all shards."""

from collections import defaultdict
from collections.abc import Iterable

from noetl_bus.rpc import RpcClient, RpcRefused, RpcUnavailable
from noetl_common.errors import Unavailable
from noetl_contract.rpc.projector import EXECUTIONS_STATES, ExecutionNames
from noetl_contract.sharding import shard_for

_SECONDS = 5.0


class ExecutionStates:
    """Client of the projectors of all shards."""

    def __init__(self, rpc: RpcClient, *, shard_count: int) -> None:
        self._rpc = rpc
        self._shard_count = shard_count

    async def of(self, execution_ids: Iterable[int]) -> dict[int, str]:
        """Return the status of executions by id; unknown executions are left out.

        Raises:
            Unavailable: a shard does not answer.
        """
        by_shard: dict[int, list[int]] = defaultdict(list)
        for one in execution_ids:
            by_shard[shard_for(one, shard_count=self._shard_count)].append(one)
        found: dict[int, str] = {}
        for shard, ids in by_shard.items():
            try:
                answer = await self._rpc.ask(
                    EXECUTIONS_STATES,
                    ExecutionNames(execution_ids=ids),
                    shard=shard,
                    seconds=_SECONDS,
                    wait_for_responder=True,
                )
            except (RpcRefused, RpcUnavailable) as error:
                raise Unavailable(what="the projector service") from error
            found |= {int(name): status for name, status in answer.states.items()}
        return found
