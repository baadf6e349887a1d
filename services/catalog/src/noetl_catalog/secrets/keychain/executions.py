"""Ask the projector for the catalog entry and the workload of an execution."""

from collections import OrderedDict
from functools import partial
from time import monotonic

import orjson
from noetl_bus.rpc import RpcClient, RpcRefused, RpcUnavailable
from noetl_common.errors import Unavailable
from noetl_contract.rpc.projector import EXECUTIONS_ORIGIN, ExecutionName, ExecutionOrigin
from noetl_contract.sharding import shard_for

from noetl_catalog.secrets.keychain.flights import Flights

_TRY_SECONDS = 3.0
# How an execution began never changes; it is forgotten because it may be deleted.
_KEPT_SECONDS = 60.0
_MOST_KEPT = 512
_LARGEST_KEPT_BYTES = 32 << 10


class Executions:
    """Client of the projectors of all shards; answers are cached, equal requests are shared."""

    def __init__(self, rpc: RpcClient, *, shard_count: int) -> None:
        self._rpc = rpc
        self._shard_count = shard_count
        self._kept: OrderedDict[int, tuple[float, ExecutionOrigin]] = OrderedDict()
        self._flights: Flights[ExecutionOrigin | None] = Flights()

    async def find(self, execution_id: int) -> ExecutionOrigin | None:
        """Return how an execution began; None when there is no such execution.

        Raises:
            Unavailable: its shard does not answer.
        """
        kept = self._kept.get(execution_id)
        if kept is not None and monotonic() < kept[0]:
            return kept[1]
        return await self._flights.run(str(execution_id), partial(self._asked, execution_id))

    async def _asked(self, execution_id: int) -> ExecutionOrigin | None:
        try:
            found = await self._rpc.ask(
                EXECUTIONS_ORIGIN,
                ExecutionName(execution_id=execution_id),
                shard=shard_for(execution_id, shard_count=self._shard_count),
                seconds=_TRY_SECONDS,
                wait_for_responder=True,
            )
        except (RpcRefused, RpcUnavailable) as error:
            if isinstance(error, RpcRefused) and error.status == 404:
                return None
            raise Unavailable(what="the projector service") from error
        self._kept.pop(execution_id, None)
        if len(orjson.dumps(found.workload)) <= _LARGEST_KEPT_BYTES:
            self._kept[execution_id] = monotonic() + _KEPT_SECONDS, found
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return found
