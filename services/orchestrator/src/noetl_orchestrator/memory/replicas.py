"""Replicas of one shard tell each other which executions have moved on.

Any replica may get the next message of an execution. One that knows its copy to be old reads
the few rows that are new, instead of deciding on it in vain and reading everything again. The
messages may be lost: the position check of the commit is what keeps the log in one piece.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence

import orjson
from noetl_common.bus.broker import Bus, Subscription
from noetl_common.bus.inbox import Incoming
from noetl_common.errors import NoetlError
from noetl_contract.subjects import replica_moves_subject

from noetl_orchestrator.memory.cache import ExecutionCache

_PRESENCE_SECONDS = 1.0
_ABSENCE_SECONDS = 5.0


class Replicas:
    """What this process hears of its siblings, and tells them while there are any."""

    def __init__(
        self,
        bus: Bus,
        cache: ExecutionCache,
        *,
        shard: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._cache = cache
        self._subject = replica_moves_subject(shard)
        self._monotonic = monotonic
        self._name = secrets.token_hex(6)
        self._heard_at = float("-inf")

    @property
    def are_there(self) -> bool:
        """Whether a sibling was heard of lately."""
        return self._monotonic() - self._heard_at < _ABSENCE_SECONDS

    async def listen(self) -> Subscription:
        """Begin to hear of siblings."""
        return await self._bus.subscribe(self._subject, self._take)

    async def tell(self, moved: Sequence[tuple[int, int]]) -> None:
        """Tell siblings the new positions of executions."""
        if moved and self.are_there:
            await self.send(moved)

    async def forget_and_tell(self, moved: Mapping[int, int]) -> None:
        """Drop cached executions whose log has grown, and tell siblings their positions."""
        for execution_id in moved:
            self._cache.forget(execution_id)
        await self.tell(list(moved.items()))

    async def send(self, moved: Sequence[tuple[int, int]]) -> None:
        """Tell of positions, or with none that this process is there."""
        try:
            await self._bus.send(self._subject, self._encoded(moved))
        except NoetlError:
            return  # too large, or no connection: the position check finds out

    def _encoded(self, moved: Sequence[tuple[int, int]]) -> bytes:
        return orjson.dumps({"from": self._name, "moved": moved})

    def _take(self, incoming: Incoming) -> None:
        message = orjson.loads(incoming.data)
        if message["from"] == self._name:
            return
        if not self.are_there:
            # It is new, or was away: it need not wait for our next word to know of us.
            self._bus.send_nowait(self._subject, self._encoded(()))
        self._heard_at = self._monotonic()
        for execution_id, position in message["moved"]:
            self._cache.note_newer(execution_id, position)


async def run_presence(replicas: Replicas, *, beat: Callable[[], None] = lambda: None) -> None:
    """Hear of siblings and let them hear of us, until cancelled."""
    subscription = await replicas.listen()
    try:
        while True:
            beat()
            await replicas.send(())
            await asyncio.sleep(_PRESENCE_SECONDS)
    finally:
        await subscription.unsubscribe()
