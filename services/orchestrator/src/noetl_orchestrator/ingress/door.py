"""The door: writes that are requested of this replica, as the owner of their buckets (W21, W23).

The broker routes: each bucket has a subject, to which its owner subscribes. A sender holds a write
until its answer has come, and spills it into the ingress stream where none comes, so one that is
dropped here is late and never lost; the copy in the stream is a repetition (W6).
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic, time_ns

import orjson
from noetl_bus.broker import Bus, Subscription
from noetl_bus.consumers.dead_letters import move_to_dead_letters
from noetl_bus.consumers.delivery import Delivery, DeliveryOwner
from noetl_bus.inbox import Incoming
from noetl_contract.ingress import FORWARDED_HEADER, REPLY_HEADER
from noetl_contract.streams import ingress_durable
from noetl_contract.subjects import (
    ingress_of_write,
    writes_of_bucket,
)

from noetl_orchestrator import metrics
from noetl_orchestrator.ingress.callers import Lane, encode_envelope, lane_of
from noetl_orchestrator.ingress.claims import BUSY
from noetl_orchestrator.ingress.handlers import IngressHandler

_IDLE_SECONDS = 1.0
_DRAIN_SECONDS = 10.0
# Of a bucket that another replica owns now: who owns it next may not have subscribed yet.
_LEAVE_SECONDS = 1.0
_QUEUE = "owners"
# Windows of each lane. Siblings bound the messages that they forward, each for itself. The urgent
# lane comes first here and has only its own messages, so no load can drop a cancel (W27).
_WINDOWS: Mapping[Lane, int] = {"urgent": 1, "claims": 1, "forwarded": 4, "ordinary": 1}
TAKEN = b'{"status":102}'
"""Said at once to who has forwarded a message: it was taken, and the answer follows."""
GIVEN_BACK = b'{"status":103,"delay":'
"""Beginning of what is said when it is to be delivered again instead, after so many seconds."""


class Requested(Delivery):
    """A write that no stream delivered to us: nobody waits for its acknowledgement."""

    __slots__ = ()

    def __init__(self, owner: DeliveryOwner, incoming: Incoming) -> None:
        super().__init__(owner, incoming, store="")
        # Its first; whether a copy may have been committed before is told by its header.
        self._fields = (1, 0, str(time_ns()), 0)
        deliveries, _, rest = incoming.headers.get(FORWARDED_HEADER, "").partition(".")
        sequence, _, stored_at = rest.partition(".")
        if deliveries.isdecimal() and sequence.isdecimal() and stored_at.isdecimal():
            self._fields = (int(deliveries), int(sequence), stored_at, 0)


class Door:
    """Takes the writes of the buckets that this replica owns.

    Args:
        bus: the connection.
        handler: takes them, as it takes those of the stream.
        shard: of the replica.
        window: how many writes may wait for their answers in each lane, those that this replica
            reads from the stream included; four times as many in that of forwarded writes. More
            are dropped, so their senders put them into the stream; claims are answered 503.
    """

    def __init__(self, bus: Bus, handler: IngressHandler, *, shard: int, window: int) -> None:
        self._bus = bus
        self._handler = handler
        self._shard = shard
        self._window = window
        self._durable = ingress_durable(shard)
        self._waiting: defaultdict[Lane, list[Delivery]] = defaultdict(list)
        self._open: dict[int, Subscription] = {}
        self._has_news = True
        self._leave_at = float("inf")
        self._wake = asyncio.Event()

    async def run(self, *, beat: Callable[[], None] = lambda: None) -> None:
        """Take writes until cancelled; then decide what has come."""
        changed = self._handler.replicas.changed
        changed.append(self._note_change)
        self._note_change()
        try:
            while True:
                beat()
                if self._has_news or monotonic() >= self._leave_at:
                    await self._follow_owners()
                try:
                    async with asyncio.timeout(_IDLE_SECONDS):
                        await self._wake.wait()
                except TimeoutError:
                    continue
                self._wake.clear()
                await self._hand_in()
        finally:
            changed.remove(self._note_change)
            await asyncio.shield(self._close())

    def _note_change(self) -> None:
        self._has_news = True
        self._wake.set()

    async def _hand_in(self) -> None:
        for lane in _WINDOWS:
            if taken := self._waiting.pop(lane, None):
                await self._handler.take_here(taken)

    async def _follow_owners(self) -> None:
        """Subscribe to the buckets that are owned now, and in a moment to these alone."""
        if self._has_news:
            self._has_news, self._leave_at = False, monotonic() + _LEAVE_SECONDS
        if self._handler.replicas.is_withdrawn:
            self._leave_at = monotonic()  # whose write nobody hears spills it at once
        owned = self._handler.replicas.owned_buckets
        for bucket in owned - self._open.keys():
            subject = writes_of_bucket(self._shard, bucket)
            self._open[bucket] = await self._bus.subscribe(subject, self._take, queue=_QUEUE)
        if monotonic() >= self._leave_at:
            self._leave_at = float("inf")
            await self._leave(self._open.keys() - owned)

    async def _leave(self, buckets: set[int]) -> None:
        left = [self._open.pop(bucket) for bucket in buckets]
        # All at once: each is a round trip.
        await asyncio.gather(*(subscription.drain() for subscription in left))

    async def _close(self) -> None:
        await self._leave(set(self._open))
        await self._hand_in()
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                await self._handler.idle()

    def _take(self, incoming: Incoming) -> None:
        lane = lane_of(incoming)
        reply = incoming.headers.get(REPLY_HEADER, "")
        waiting = self._waiting[lane]
        room = self._window * _WINDOWS[lane]
        if self._handler.under_way.counts[lane] + len(waiting) >= room:
            metrics.DROPPED.inc()
            if lane == "claims":
                self._bus.send_nowait(reply, encode_envelope(BUSY))
            return
        if FORWARDED_HEADER in incoming.headers:
            self._bus.send_nowait(reply, TAKEN)
        # Its reply subject is the broker's, for when nobody listens.
        told = Incoming(ingress_of_write(incoming.subject), incoming.data, incoming.headers)
        waiting.append(Requested(self, told))
        self._wake.set()

    def answer(self, delivery: Delivery, word: bytes, *, final: bool) -> None:  # noqa: ARG002 -- as others have it
        """Answer the replica that has forwarded a message that it is to be delivered again.

        No other word is answered: the sender goes by the reply alone.
        """
        if word.startswith(b"-NAK") and FORWARDED_HEADER in delivery.headers:
            delay = orjson.loads(word[4:] or b"{}").get("delay", 0) / 1e9
            reply = delivery.headers.get(REPLY_HEADER, "")
            self._bus.send_nowait(reply, GIVEN_BACK + b"%.3f}" % delay)

    async def move_to_dead_letters(self, delivery: Delivery, reason: str) -> bool:
        """Keep it for people, as one of the stream: there may be no copy in there."""
        return await move_to_dead_letters(self._bus, self._durable, delivery, reason)
