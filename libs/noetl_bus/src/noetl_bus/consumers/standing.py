"""The standing pull: a request for messages is always open, so each comes without delay.

Credit is the number of messages requested and not received yet. It is requested again when a
request ends (the broker answers how much was left), after a reconnect, and when the broker's
heartbeats stay away. A pull that gathers requests one message while its taker waits, and after
each batch for a moment all that have come since: many are a few reads then, not one each.

Before the first request, after every reconnect and whenever the durable is gone, the durable is
created or updated and the stream's creation time is read: an acknowledgement for a message of a
lost store would hit another message of the new one, so deliveries of the old store are never
answered.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Self

from nats.aio.msg import Msg
from noetl_common import metrics
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.streams import DurableSpec

from noetl_bus import wire
from noetl_bus.broker import Bus, Subscription
from noetl_bus.consumers.dead_letters import bury
from noetl_bus.consumers.delivery import Delivery
from noetl_bus.errors import BusClosed, TopologyRefused
from noetl_bus.inbox import Incoming
from noetl_bus.jetstream import stream_info
from noetl_bus.topology import ensure_durable

_log = get_logger()
_EXPIRES_SECONDS = 30
_HEARTBEAT_SECONDS = 1.0
# How long a pull that gathers asks for all there is; what comes later wakes it.
_GATHER_SECONDS = 0.02
# Two heartbeats and some jitter: less would take a busy broker for a lost request.
_SILENCE_SECONDS = 2.5
# A cluster without a leader doesn't answer; asking often resumes soon after the election.
_VERIFY_SECONDS = 1.5
_MOST_BYTES = 32 << 20
_PROGRESS = b"+WPI"
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 1.0
_ENDED = frozenset({"408", "409", "404"})
_DRAIN_SECONDS = 2.0


class StandingPull:
    """Deliveries of one durable, in a queue of bounded length.

    ``window`` bounds credit, queue and whatever ``in_use`` counts, together. ``gathers`` is for
    takers that rest between batches: see above. While ``is_wanted`` says no, nothing more is
    requested; what was requested before may still come.
    """

    def __init__(
        self,
        bus: Bus,
        spec: DurableSpec,
        *,
        window: int,
        in_use: Callable[[], int] | None = None,
        gathers: bool = False,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self.bus = bus
        self.spec = spec
        self._window = window
        self._in_use = in_use or self._unanswered
        self._gathers = gathers
        self._has_taken = False
        self._is_wanted = is_wanted
        self._queue: deque[Delivery] = deque()
        self._held: set[Delivery] = set()
        self._credit = 0
        self._store = ""
        self._verified = False
        self._losses = 0
        self._stopped = False
        self._late: list[tuple[str, str, bytes]] = []
        self._heard = monotonic()
        self._request = 0
        self._arrived = asyncio.Event()
        self._poke = asyncio.Event()
        self._prefix = f"{bus.nc.new_inbox()}."
        self._subscription: Subscription | None = None
        self._tending: asyncio.Task[None] | None = None
        self._stops: list[Callable[[], None]] = []
        labels = (spec.stream, spec.name)
        names = ("stream", "consumer")
        self._received = metrics.counter(
            "noetl_bus_delivered_total", "Messages delivered to us.", names
        ).labels(*labels)
        self._repaired = metrics.counter(
            "noetl_bus_pull_repairs_total", "Pulls asked for again after trouble.", names
        ).labels(*labels)

    # -- for the loops -------------------------------------------------------------------

    async def take(self, most: int) -> list[Delivery]:
        """Return the messages that have arrived, at most ``most``; wait for the first one.

        Raises:
            TopologyRefused: the durable can't be made.
            BusClosed: the connection is gone for good.
        """
        queue = self._queue
        if self._gathers and self._has_taken:
            self._gather()
        while not queue:
            self._check()
            self._arrived.clear()
            self.top_up()
            await self._arrived.wait()
        self._has_taken = True
        if not self._gathers:
            self.top_up()
        if len(queue) <= most:
            taken = list(queue)
            queue.clear()
            return taken
        return [queue.popleft() for _ in range(most)]

    def top_up(self) -> None:
        """Request as many messages as the window allows, but not in small steps."""
        if not self._verified or self._stopped or not self._is_wanted():
            return
        free = self._window - self._credit - self._in_use()
        if self._gathers:
            # Only for a taker that waits: what comes before it does is left at the broker.
            if free > 0 and self._credit == 0 and not self._arrived.is_set():
                self._pull(1)
        elif free > 0 and (self._credit == 0 or free >= self._window // 4):
            self._pull(free)

    def _gather(self) -> None:
        """Request the messages that came since the last batch, with a short expiry."""
        self._has_taken = False
        free = self._window - self._credit - self._in_use()
        if self._verified and not self._stopped and self._is_wanted() and free > 0:
            self._pull(free, seconds=_GATHER_SECONDS, heartbeats=False)

    @property
    def queued(self) -> int:
        """Number of messages that have arrived and were not taken."""
        return len(self._queue)

    # -- answers -------------------------------------------------------------------------

    def answer(self, delivery: Delivery, word: bytes, *, final: bool) -> None:
        """Send an acknowledgement word, or keep it until the connection is known to be good."""
        if final:
            self._held.discard(delivery)
        if self._verified:
            if delivery.store == self._store:
                wire.write_nowait(self.bus.nc, _answer_command(delivery.reply, word))
        elif final:
            self._late.append((delivery.store, delivery.reply, word))

    async def bury(self, delivery: Delivery, reason: str) -> bool:
        """Copy a delivery to the dead letters; return whether that worked."""
        return await bury(self.bus, self.spec, delivery, reason)

    # -- life ----------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._stops = [self.bus.on_disconnect(self._lost), self.bus.on_reconnect(self._back)]
        self._subscription = await self.bus.subscribe_raw(f"{self._prefix}*", self._take)
        self._tending = asyncio.create_task(self._tend(), name=f"{self.spec.name}: pull")
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await asyncio.shield(self._end())

    async def stop(self) -> None:
        """Take no more messages: those that came and were not taken are returned to the broker."""
        self._stopped = True
        if self._subscription is not None:
            subscription, self._subscription = self._subscription, None
            await subscription.drain()
        while self._queue:
            delivery = self._queue.popleft()
            await delivery.nak()

    async def _end(self) -> None:
        for stop in self._stops:
            stop()
        await self.stop()
        for delivery in list(self._held):
            await delivery.nak()
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.wait([self._tending])
        if self.bus.is_connected:
            await self.bus.flush(_DRAIN_SECONDS)

    # -- the broker's side ---------------------------------------------------------------

    def _take(self, message: Msg) -> None:
        """Take a message or a status; called from the read loop."""
        self._heard = monotonic()
        if message.subject.startswith(self._prefix):
            self._take_status(message)
            return
        if self._credit > 0:
            # A request from before a repair may still be served: more than was asked for.
            self._credit -= 1
        delivery = Delivery(
            self,
            Incoming(message.subject, message.data, message.headers or {}, message.reply),
            store=self._store,
        )
        self._queue.append(delivery)
        self._held.add(delivery)
        self._received.inc()
        if not self._arrived.is_set():
            self._arrived.set()

    def _take_status(self, message: Msg) -> None:
        headers = message.headers or {}
        status = headers.get("Status", "")
        if status == "100" or int(message.subject[len(self._prefix) :]) < self._request:
            # A heartbeat, or the end of a request from before the last repair.
            return
        if status == "503":
            self._repair("nobody serves the durable")
        elif status in _ENDED:
            left = int(headers.get("Nats-Pending-Messages", "0") or 0)
            self._credit = max(0, self._credit - left)
            text = headers.get("Description", "").lower()
            if status == "408" or "maxbytes" in text or "batch completed" in text:
                self.top_up()
            else:
                self._repair(text)

    def _pull(
        self, count: int, *, seconds: float = _EXPIRES_SECONDS, heartbeats: bool = True
    ) -> None:
        self._credit += count
        body = b'{"batch":%d,"expires":%d,"idle_heartbeat":%d,"max_bytes":%d}' % (
            count,
            int(seconds * 1e9),
            int(_HEARTBEAT_SECONDS * 1e9) if heartbeats else 0,
            _MOST_BYTES,
        )
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self.spec.stream}.{self.spec.name}"
        reply = f"{self._prefix}{self._request}"
        wire.write_nowait(self.bus.nc, wire.command(subject, body, reply=reply))

    def _lost(self) -> None:
        self._losses += 1
        self._verified = False
        self._credit = 0

    async def _back(self) -> None:
        self._poke.set()

    def _repair(self, reason: str) -> None:
        _log.info("pull_repaired", durable=self.spec.name, reason=reason)
        self._repaired.inc()
        self._verified = False
        self._credit = 0
        self._poke.set()

    # -- the loop beside the loops -------------------------------------------------------

    async def _tend(self) -> None:
        """Keep durable, pull and held deliveries alive until cancelled."""
        third = self.spec.ack_wait.total_seconds() / 3
        rest = min(_HEARTBEAT_SECONDS, third / 2)
        try:
            while True:
                self._poke.clear()
                if not self._verified:
                    await self._verify()
                    self.top_up()
                elif self._credit > 0 and monotonic() - self._heard > _SILENCE_SECONDS:
                    self._repair("no heartbeat")
                    continue
                self._keep_alive(third)
                try:
                    async with asyncio.timeout(rest):
                        await self._poke.wait()
                except TimeoutError:
                    continue
        finally:
            # Wakes `take`, which then raises.
            self._arrived.set()

    async def _verify(self) -> None:
        """Create the durable, read the stream's creation time, and send the waiting answers."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            await self.bus.wait_connected()
            losses = self._losses
            try:
                await ensure_durable(self.bus, self.spec, seconds=_VERIFY_SECONDS)
                stream = await stream_info(self.bus, self.spec.stream, seconds=_VERIFY_SECONDS)
                if stream is not None and losses == self._losses:
                    break
                continue
            except BusClosed:
                raise
            except NoetlError as error:
                _log.warning("durable_not_ready", durable=self.spec.name, error=error.message)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        store = stream.created_at.isoformat()
        if self._store and store != self._store:
            _log.warning("store_replaced", durable=self.spec.name, held=len(self._held))
        self._store = store
        self._request += 1
        self._verified = True
        self._heard = monotonic()
        late, self._late = self._late, []
        for of_store, reply, word in late:
            if of_store == store:
                wire.write_nowait(self.bus.nc, _answer_command(reply, word))

    def _keep_alive(self, third: float) -> None:
        """Report deliveries that are held for long to the broker as still in progress."""
        now = monotonic()
        for delivery in self._held:
            if now - delivery.touched >= third:
                delivery.touched = now
                self.answer(delivery, _PROGRESS, final=False)

    def _unanswered(self) -> int:
        return len(self._held)

    def _check(self) -> None:
        """Raise the failure of the tending loop, if it has ended.

        Raises:
            TopologyRefused: it ended without one, which it never should.
        """
        task = self._tending
        if task is None or not task.done():
            return
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
        raise TopologyRefused(what=self.spec.name, reason="the pull loop ended")


def _answer_command(reply: str, word: bytes) -> bytes:
    return b"PUB %s %d\r\n%s\r\n" % (reply.encode(), len(word), word)
