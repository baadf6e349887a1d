"""Exchange new positions of executions between the replicas of one shard.

Any replica may get the next message of an execution. With an outdated copy it reads the few new
rows, instead of a decision that is thrown away and a full reload. Messages may be lost: the
position check of the commit keeps the log consistent.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence

import orjson
from noetl_common.bus.broker import Bus, Subscription
from noetl_common.bus.inbox import Incoming
from noetl_common.errors import NoetlError
from noetl_contract.hints import ReplicaMoves
from noetl_contract.subjects import replica_moves_subject

from noetl_orchestrator.memory.cache import ExecutionCache

_PRESENCE_SECONDS = 1.0
_ABSENCE_SECONDS = 5.0


class Replicas:
    """Receive positions from siblings, and send them while there are siblings."""

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
        """Return whether a sibling was heard lately."""
        return self._monotonic() - self._heard_at < _ABSENCE_SECONDS

    async def listen(self) -> Subscription:
        """Subscribe to the positions of siblings."""
        return await self._bus.subscribe(self._subject, self._take)

    async def tell(self, moved: Sequence[tuple[int, int]]) -> None:
        """Send new positions of executions, if there are siblings."""
        if moved and self.are_there:
            await self.send(moved)

    async def forget_and_tell(self, moved: Mapping[int, int]) -> None:
        """Drop cached executions whose log has grown, and tell siblings their positions."""
        for execution_id in moved:
            self._cache.forget(execution_id)
        await self.tell(list(moved.items()))

    async def send(self, moved: Sequence[tuple[int, int]]) -> None:
        """Send positions; without any the message only shows that this process is alive."""
        try:
            await self._bus.send(self._subject, self._encoded(moved))
        except NoetlError:
            return  # too large, or no connection: the position check makes up for it

    def _encoded(self, moved: Sequence[tuple[int, int]]) -> bytes:
        return orjson.dumps(ReplicaMoves({"from": self._name, "moved": list(moved)}))

    def _take(self, incoming: Incoming) -> None:
        message: ReplicaMoves = orjson.loads(incoming.data)
        if message["from"] == self._name:
            return
        if not self.are_there:
            # A new sibling learns of this process at once.
            self._bus.send_nowait(self._subject, self._encoded(()))
        self._heard_at = self._monotonic()
        for execution_id, position in message["moved"]:
            self._cache.note_newer(execution_id, position)


async def run_presence(replicas: Replicas, *, beat: Callable[[], None] = lambda: None) -> None:
    """Receive positions and show siblings that this process is alive, until cancelled."""
    subscription = await replicas.listen()
    try:
        while True:
            beat()
            await replicas.send(())
            await asyncio.sleep(_PRESENCE_SECONDS)
    finally:
        await subscription.unsubscribe()
