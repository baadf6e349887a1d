"""The replicas of one shard: their liveness, and the owner of each execution.

Any replica may decide any execution: the position check of the commit keeps the log consistent.
But deciding an execution that another replica has in memory makes both read rows. So each execution
has an owner among the replicas, which all of them compute alike, and writes are requested of it
(ADR 8). A replica that commits to an execution of another one sends its new position. All of these
messages may be lost.

Only as many replicas own executions as have work for a core: many executions decided in one turn
and one commit cost a third of as many that are decided alone. The others are ready to follow.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence

from noetl_bus.broker import Bus, Subscription
from noetl_bus.inbox import Incoming
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.hints import ReplicaMoves
from noetl_contract.sharding import BUCKETS, bucket_of
from noetl_contract.subjects import replica_moves_subject, replica_subject
from noetl_pg.watch import Reachability

from noetl_orchestrator import metrics
from noetl_orchestrator.memory.cache import ExecutionCache
from noetl_orchestrator.replicas.load import Load, LoadMeter
from noetl_orchestrator.replicas.withdrawal import Withdrawal

_log = get_logger()
_ALONE_SECONDS = 1.0
# Parts of a core that each active replica wants, and for how many looks.
_HOT, _HOT_LOOKS = 0.8, 3
_COLD, _COLD_LOOKS = 0.5, 20
_TOGETHER_SECONDS = 0.5
# Of a replica that hangs. A dead one is noticed earlier, by the broker's "no responders".
_ABSENCE_SECONDS = 5.0
_LATE_SECONDS = 1.5
# After a change copies of before may be in memory anywhere.
_UNSETTLED_SECONDS = 5.0
_ALL_BUCKETS = frozenset(range(BUCKETS))


class Replicas:
    """The live siblings of this replica, and the owners of executions among all of them.

    The oldest replica decides which of them own executions.

    Args:
        bus: the connection.
        cache: copies of executions, which are dropped when others own them.
        shard: of these replicas.
        fewest_active: replicas that own executions however little there is to do.
        monotonic: a clock in seconds.
        look: measures the load of this process and its machine.
        reach: of the database; one that answers unless given.

    Attributes:
        name: of this process, new with each; names of older processes come first.
        changed: each is called when this process owns other buckets than before.
    """

    def __init__(
        self,
        bus: Bus,
        cache: ExecutionCache,
        *,
        shard: int,
        fewest_active: int = 1,
        monotonic: Callable[[], float] = time.monotonic,
        look: Callable[[], Load] | None = None,
        reach: Reachability | None = None,
    ) -> None:
        self.name = f"{time.time_ns() // 1_000_000:012x}-{secrets.token_hex(4)}"
        self.changed: list[Callable[[], None]] = []
        self._bus = bus
        self._cache = cache
        self._subject = replica_moves_subject(shard)
        self._monotonic = monotonic
        self._look = look or LoadMeter().look
        self._fewest_active = fewest_active
        self._hot_looks = self._cold_looks = 0
        self._has_left = False
        self._withdrawal = Withdrawal(reach or Reachability(monotonic), monotonic)
        self._heard: dict[str, float] = {}
        self._unheard: dict[str, str] = {}
        self._shows = 0
        self._loads: dict[str, Load] = {}
        self._chosen: list[str] = []
        self._active: list[str] = [self.name]
        metrics.ACTIVE.set(1)
        self._owners: list[str] = []
        self._changed_at = self._shown_at = float("-inf")

    @property
    def are_there(self) -> bool:
        """Return whether a sibling was heard lately."""
        return bool(self._heard)

    @property
    def is_active(self) -> bool:
        """Return whether this process owns executions, or might: it asks the broker for work."""
        return self.name in self._active

    @property
    def owned_buckets(self) -> frozenset[int]:
        """Return the buckets whose executions this process owns.

        Empty until siblings had time to announce that they own them.
        """
        if not (self._has_looked and self.is_active):
            return frozenset()
        if not self._owners:
            return _ALL_BUCKETS
        return frozenset(n for n, owner in enumerate(self._owners) if owner == self.name)

    @property
    def is_withdrawn(self) -> bool:
        """Return whether siblings own all executions, as this process has lost the database."""
        return self._withdrawal.is_on and self.are_there

    @property
    def _has_looked(self) -> bool:
        return self._shows > 1

    def owner_of(self, execution_id: int) -> str | None:
        """Return the sibling that owns an execution; None for this process."""
        if not self._owners:
            return None
        owner = self._owners[bucket_of(execution_id)]
        return None if owner == self.name else owner

    async def listen(self) -> Sequence[Subscription]:
        """Subscribe to siblings' messages, and to a subject whose loss shows this one's end."""
        return [
            await self._bus.subscribe(self._subject, self._take),
            await self._bus.subscribe(replica_subject(self.name), lambda _knock: None),
        ]

    async def tell(self, moved: Sequence[tuple[int, int]]) -> None:
        """Send new positions of executions to siblings that may have them in memory."""
        if not self._heard:
            return
        if not self._is_unsettled():
            moved = [one for one in moved if self.owner_of(one[0]) is not None]
        if moved:
            await self.send(moved)

    async def forget_and_tell(self, moved: Mapping[int, int]) -> None:
        """Drop cached executions whose log has grown, and send siblings their positions."""
        for execution_id in moved:
            self._cache.forget(execution_id)
        if self._heard and moved:
            await self.send(list(moved.items()))

    async def send(self, moved: Sequence[tuple[int, int]]) -> None:
        """Send positions; without any the message only shows that this process is alive."""
        try:
            await self._bus.send(self._subject, self._encoded(moved))
        except NoetlError:
            return  # too large, or no connection: the position check makes up for it

    async def show(self) -> None:
        """Announce this process to siblings, and drop those not heard for long."""
        self._loads[self.name] = self._look()
        if self._withdrawal.look(is_alone=not self._heard):
            self._settle()
        self._choose()
        await self.send(())
        await self._knock()
        self._shows += 1
        if self._shows == 2:
            self._notify_change()
        now = self._monotonic()
        was_late, self._shown_at = now - self._shown_at > _LATE_SECONDS, now
        if was_late:
            return  # messages of siblings that came meanwhile are still to be read
        late = now - _ABSENCE_SECONDS
        for name in [name for name, heard_at in self._heard.items() if heard_at < late]:
            self.lose(name)

    async def _knock(self) -> None:
        """Send owners an empty message: for dead ones the broker answers "no responders"."""
        for owner in self._active:
            if owner in self._heard:
                try:
                    await self._bus.send(
                        replica_subject(owner), b"", reply=self._unheard_subject(owner)
                    )
                except NoetlError:
                    return

    def _unheard_subject(self, name: str) -> str:
        """Return the subject of the broker's "no responders" for a sibling."""
        subject = self._unheard.get(name)
        if subject is None:
            subject = self._unheard[name] = self._bus.inbox().fresh_subject()

            def on_answer(incoming: Incoming) -> None:
                if incoming.is_no_responders:
                    self.lose(name)

            self._bus.inbox().register(subject, on_answer)
        return subject

    def leave(self) -> None:
        """Announce that this process takes no more messages, now and with its last commits."""
        self._has_left = True
        self._bus.send_nowait(self._subject, self._encoded(()))

    def lose(self, name: str) -> None:
        """Treat a sibling as gone, until it is heard again."""
        if self._heard.pop(name, None) is None:
            return
        self._loads.pop(name, None)
        self._withdrawal.lose(name)
        subject = self._unheard.pop(name, None)
        if subject is not None:
            self._bus.inbox().forget(subject)
        self._settle()

    @property
    def rest_seconds(self) -> float:
        """Return the time until this process should be shown again."""
        return _TOGETHER_SECONDS if self._heard else _ALONE_SECONDS

    def _encoded(self, moved: Sequence[tuple[int, int]]) -> bytes:
        own = ReplicaMoves(
            sender=self.name,
            moved=list(moved),
            leaves=self._has_left or self.is_withdrawn,
        )
        if moved or own.leaves:
            return own.to_json()
        load = self._loads.get(self.name)
        return own.but(
            active=self._active,
            wanted=None if load is None else round(load.wanted, 2),
            spare=load is None or load.has_spare,
            away=self._withdrawal.is_away,
            reaches=self._withdrawal.is_proven,
        ).to_json()

    def _take(self, incoming: Incoming) -> None:
        message = ReplicaMoves.from_json(incoming.data)
        name = message.sender
        if name == self.name:
            return
        if message.active is not None:
            self._withdrawal.hear(message)
        if message.leaves:
            self.lose(name)
        else:
            self._hear(name, message)
        for execution_id, position in message.moved:
            self._cache.note_newer(execution_id, position)

    def _hear(self, name: str, message: ReplicaMoves) -> None:
        """Record a sibling's message about itself."""
        is_new = name not in self._heard
        self._heard[name] = self._monotonic()
        if message.wanted is not None:
            self._loads[name] = Load(message.wanted, message.spare)
        if name == self._names()[0] and message.active is not None:
            self._chosen = message.active
        self._settle()
        if is_new:
            # A new sibling learns of this process at once.
            self._bus.send_nowait(self._subject, self._encoded(()))

    def _choose(self) -> None:
        """Choose the replicas that own executions, if this is the oldest."""
        names = self._names()
        if names[0] != self.name:
            self._hot_looks = self._cold_looks = 0
            return
        active = self._active
        wanted = sum(self._loads[name].wanted for name in active if name in self._loads)
        self._hot_looks = self._hot_looks + 1 if wanted > _HOT * len(active) else 0
        is_cold = len(active) > 1 and wanted < _COLD * (len(active) - 1)
        self._cold_looks = self._cold_looks + 1 if is_cold else 0
        chosen = list(active)
        if self._hot_looks >= _HOT_LOOKS:
            self._hot_looks = 0
            ready = [name for name in names if name not in active and self._can_help(name)]
            chosen += ready[: len(active)]
        elif self._cold_looks >= _COLD_LOOKS:
            self._cold_looks = 0
            chosen.pop()
        few = self._fewest_active - len(chosen)
        if few > 0:
            chosen += [name for name in names if name not in chosen][:few]
        self._chosen = chosen
        self._settle()

    def _can_help(self, name: str) -> bool:
        load = self._loads.get(name)
        return load is not None and load.has_spare

    def _names(self) -> list[str]:
        return sorted(self._heard if self.is_withdrawn else [self.name, *self._heard])

    def _settle(self) -> None:
        """Recompute the owners, and drop copies of executions that others own now."""
        names = self._names()
        active = [name for name in self._chosen if name in names] or names[:1]
        if active == self._active:
            return
        self._active = active
        metrics.ACTIVE.set(self.is_active)
        self._owners = [] if active == [self.name] else _owners(active)
        self._changed_at = self._monotonic()
        dropped = self._cache.forget_where(lambda one: self.owner_of(one) is not None)
        _log.info(
            "owners_changed",
            replicas=1 + len(self._heard),
            active=len(active),
            is_active=self.is_active,
            dropped_copies=dropped,
        )
        self._notify_change()

    def _notify_change(self) -> None:
        for tell in self.changed:
            tell()

    def _is_unsettled(self) -> bool:
        return self._monotonic() - self._changed_at < _UNSETTLED_SECONDS


def _owners(names: Sequence[str]) -> list[str]:
    """Return the owner of each bucket: a change of one name moves its buckets only."""

    def weight(name: str, bucket: int) -> bytes:
        return hashlib.blake2b(f"{name}:{bucket}".encode(), digest_size=8).digest()

    return [max(names, key=lambda name: weight(name, bucket)) for bucket in range(BUCKETS)]


async def run_presence(replicas: Replicas, *, beat: Callable[[], None] = lambda: None) -> None:
    """Hear siblings and show them that this process is alive, until cancelled."""
    subscriptions = await replicas.listen()
    try:
        while True:
            beat()
            await replicas.show()
            await asyncio.sleep(replicas.rest_seconds)
    finally:
        replicas.leave()
        for subscription in subscriptions:
            await subscription.unsubscribe()
