"""The standing pull: a request for messages is always open, so that they arrive without delay.

Credit is the number of messages that are requested and not received yet. Messages are requested
again when a request ends (the broker reports how many are left), after a reconnect, and when the
broker's heartbeats are missing. A pull that gathers requests one message while the consumer waits.
After each batch it requests, for a moment, all messages that have arrived since, so that many
messages need only a few reads.

Before the first request, after every reconnect and whenever the durable is missing, the durable is
created or updated, and the stream's creation time is read. If the stream was recreated, deliveries
of the old stream are never answered: the answer would acknowledge another message of the new one.
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
from noetl_bus.consumers.dead_letters import move_to_dead_letters
from noetl_bus.consumers.delivery import Delivery
from noetl_bus.errors import BusClosed, TopologyRefused
from noetl_bus.inbox import Incoming
from noetl_bus.jetstream import stream_info
from noetl_bus.topology import ensure_durable

_log = get_logger()
_EXPIRES_SECONDS = 30
_HEARTBEAT_SECONDS = 1.0
# Expiry of the request for all messages after a batch of a pull that gathers.
_GATHER_SECONDS = 0.02
# Two heartbeats and some jitter; with less, a busy broker would look like a lost request.
_SILENCE_SECONDS = 2.5
# A cluster without a leader doesn't answer; with a short timeout, the pull resumes soon after the
# election.
_VERIFY_SECONDS = 1.5
_MOST_BYTES = 32 << 20
_PROGRESS = b"+WPI"
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 1.0
_ENDED = frozenset({"408", "409", "404"})
_DRAIN_SECONDS = 2.0


class StandingPull:
    """Deliveries of one durable, in a bounded queue.

    Args:
        window: bound of credit, queued deliveries and ``in_use`` together.
        in_use: returns the number of deliveries in progress, by default the unanswered ones.
        gathers: for consumers that pause between batches; see the docstring of the module.
        is_wanted: while this returns False, no message is requested; messages that were requested
            before may still arrive.
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
        self._has_received = False
        self._is_wanted = is_wanted
        self._queue: deque[Delivery] = deque()
        self._held: set[Delivery] = set()
        self._credit = 0
        self._store = ""
        self._verified = False
        self._losses = 0
        self._stopped = False
        self._late: list[tuple[str, str, bytes]] = []
        self._received_at = monotonic()
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
            "noetl_bus_delivered_total", "Messages delivered to this process.", names
        ).labels(*labels)
        self._repaired = metrics.counter(
            "noetl_bus_pull_repairs_total", "Pulls that were restarted after an error.", names
        ).labels(*labels)

    # -- for the loops -------------------------------------------------------------------

    async def receive(self, most: int) -> list[Delivery]:
        """Return the received messages, at most ``most``; if there is none, wait for the first.

        Raises:
            TopologyRefused: the durable can't be created.
            BusClosed: the connection is closed for good.
        """
        queue = self._queue
        if self._gathers and self._has_received:
            self._gather()
        while not queue:
            self._check()
            self._arrived.clear()
            self.top_up()
            await self._arrived.wait()
        self._has_received = True
        if not self._gathers:
            self.top_up()
        if len(queue) <= most:
            received = list(queue)
            queue.clear()
            return received
        return [queue.popleft() for _ in range(most)]

    def top_up(self) -> None:
        """Request as many messages as the window allows, but not in small steps."""
        if not self._verified or self._stopped or not self._is_wanted():
            return
        free = self._window - self._credit - self._in_use()
        if self._gathers:
            # One message is requested once the consumer waits; until then, messages stay at the
            # broker.
            if free > 0 and self._credit == 0 and not self._arrived.is_set():
                self._pull(1)
        elif free > 0 and (self._credit == 0 or free >= self._window // 4):
            self._pull(free)

    def _gather(self) -> None:
        """Request the messages that arrived since the last batch, with a short expiry."""
        self._has_received = False
        free = self._window - self._credit - self._in_use()
        if self._verified and not self._stopped and self._is_wanted() and free > 0:
            self._pull(free, seconds=_GATHER_SECONDS, heartbeats=False)

    @property
    def queued(self) -> int:
        """Number of received messages in the queue."""
        return len(self._queue)

    # -- answers -------------------------------------------------------------------------

    def answer(self, delivery: Delivery, word: bytes, *, final: bool) -> None:
        """Send an answer, or keep it until the durable and its stream are verified."""
        if final:
            self._held.discard(delivery)
        if self._verified:
            if delivery.store == self._store:
                wire.write_nowait(self.bus.nc, _answer_command(delivery.reply, word))
        elif final:
            self._late.append((delivery.store, delivery.reply, word))

    async def move_to_dead_letters(self, delivery: Delivery, reason: str) -> bool:
        """Copy a delivery to the dead-letter stream; return whether the copy is stored."""
        return await move_to_dead_letters(self.bus, self.spec, delivery, reason)

    # -- life ----------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._stops = [self.bus.on_disconnect(self._lost), self.bus.on_reconnect(self._back)]
        self._subscription = await self.bus.subscribe_raw(f"{self._prefix}*", self._on_message)
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
        """Receive no more messages, and return queued messages to the broker."""
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

    def _on_message(self, message: Msg) -> None:
        """Queue a message or handle a status; called from the read loop."""
        self._received_at = monotonic()
        if message.subject.startswith(self._prefix):
            self._on_status(message)
            return
        if self._credit > 0:
            # Credit may be 0, because a request from before a repair may still be served.
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

    def _on_status(self, message: Msg) -> None:
        headers = message.headers or {}
        status = headers.get("Status", "")
        if status == "100" or int(message.subject[len(self._prefix) :]) < self._request:
            # A heartbeat, or the end of a request from before the last repair.
            return
        if status == "503":
            self._repair("no server has the durable")
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
        """Keep the durable, the pull and unanswered deliveries alive until cancelled."""
        third = self.spec.ack_wait.total_seconds() / 3
        rest = min(_HEARTBEAT_SECONDS, third / 2)
        try:
            while True:
                self._poke.clear()
                if not self._verified:
                    await self._verify()
                    self.top_up()
                elif self._credit > 0 and monotonic() - self._received_at > _SILENCE_SECONDS:
                    self._repair("no heartbeat")
                    continue
                self._keep_alive(third)
                try:
                    async with asyncio.timeout(rest):
                        await self._poke.wait()
                except TimeoutError:
                    continue
        finally:
            # `receive` wakes up and raises.
            self._arrived.set()

    async def _verify(self) -> None:
        """Create the durable, read the stream's creation time, and send the kept answers."""
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
        self._received_at = monotonic()
        late, self._late = self._late, []
        for of_store, reply, word in late:
            if of_store == store:
                wire.write_nowait(self.bus.nc, _answer_command(reply, word))

    def _keep_alive(self, third: float) -> None:
        """Report deliveries to the broker as in progress before their time is over."""
        now = monotonic()
        for delivery in self._held:
            if now - delivery.touched >= third:
                delivery.touched = now
                self.answer(delivery, _PROGRESS, final=False)

    def _unanswered(self) -> int:
        return len(self._held)

    def _check(self) -> None:
        """Raise the error of the background loop, if the loop has ended.

        Raises:
            TopologyRefused: the loop has ended without an error, which is a bug.
        """
        task = self._tending
        if task is None or not task.done():
            return
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
        raise TopologyRefused(what=self.spec.name, reason="the pull loop ended")


def _answer_command(reply: str, word: bytes) -> bytes:
    return b"PUB %s %d\r\n%s\r\n" % (reply.encode(), len(word), word)
