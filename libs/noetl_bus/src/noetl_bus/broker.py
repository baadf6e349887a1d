"""The connection to the broker: its state, its lifecycle, and sending over it."""

# size: what is sent depends on the state of the connection, which is in one place

import asyncio
import random
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

import nats.errors
from nats.aio.client import Client, Server
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription
from noetl_common import metrics
from noetl_common.errors import NoetlError, TooLarge
from noetl_common.logging import get_logger
from noetl_contract.hints import PubAck
from noetl_contract.subjects import family

from noetl_bus import wire
from noetl_bus.errors import BusClosed, BusForbidden, BusUnavailable
from noetl_bus.inbox import Inbox, Incoming, Sink, Waiter, split
from noetl_bus.probe import Probe
from noetl_bus.publish import MESSAGE_ID_HEADER, Outgoing, Publisher
from noetl_bus.settings import NatsSettings
from noetl_bus.tls import broker_tls

if TYPE_CHECKING:
    from nats.js import JetStreamContext

_log = get_logger()
_CONTROL_LINE = 1024
"""Room for subject and reply of a message, which our size check counts with the body."""
_WATCH_SECONDS = 1.0
_REPEAT_SECONDS = 5.0
_FORBIDDEN = re.compile(r'permissions violation for publish to "([^"]+)"', re.IGNORECASE)
_LAST_FLUSH_SECONDS = 2.0
_PENDING_BYTES = 8 << 20


@dataclass(slots=True, frozen=True)
class Subscription:
    """A core subscription."""

    bus: "Bus"
    raw: NatsSubscription

    async def unsubscribe(self) -> None:
        """End it; messages on their way are dropped."""
        if not self.bus.nc.is_closed:
            await self.raw.unsubscribe()

    async def drain(self) -> None:
        """End it once the messages on their way have been taken."""
        nc = self.bus.nc
        if nc.is_connected:
            await nc._send_unsubscribe(self.raw._id)  # noqa: SLF001 -- `drain` uses `flush`, see wire.ping
            await self.bus.flush()
        nc._remove_sub(self.raw._id)  # noqa: SLF001


class Bus:
    """A connection to NATS that reconnects for ever, and the ways to send over it.

    Made by :func:`connect`. ``nc`` and ``js`` are the client's own objects, for uses without a
    method here. ``run_topology_watch`` keeps ``topology_ok``. ``forbidden`` are operations of the
    JetStream API that our login may not use, and families of subjects that it may not publish on.
    ``probe`` finds out whether the connection is dead.
    """

    def __init__(self, settings: NatsSettings, *, name: str) -> None:
        self.settings = settings
        self.name = name
        self.nc = Client()
        self.js: JetStreamContext = self.nc.jetstream()
        self.probe = Probe(self.nc, name)
        self.topology_ok = True
        self.forbidden: set[str] = set()
        self.answers = Inbox(prefix="")
        self._publisher = Publisher(self)
        self.silence = self._publisher.silence
        self._connected = asyncio.Event()
        self._closed_reason: str | None = None
        self._asked: dict[asyncio.Future[Incoming], str] = {}
        self._last_error = ("", 0.0)
        self._on_disconnect: list[Callable[[], None]] = []
        self._on_reconnect: list[Callable[[], Awaitable[None]]] = []
        self._up = metrics.gauge("noetl_nats_connected", "1 while connected to the broker.")
        self._reconnects = metrics.counter(
            "noetl_nats_reconnects_total", "Connections made after the first."
        )

    # -- state ---------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        """Whether the bus is connected now."""
        return self._connected.is_set()

    @property
    def is_closed(self) -> bool:
        """Whether the connection is closed for good."""
        return self._closed_reason is not None

    @property
    def largest_message(self) -> int:
        """Most bytes of headers and body that one message may have."""
        return self.nc.max_payload

    async def wait_connected(self) -> None:
        """Wait until there is a connection.

        Raises:
            BusClosed: there will never be one again.
        """
        if self._closed_reason is not None:
            raise BusClosed(reason=self._closed_reason)
        if not self._connected.is_set():
            await self._connected.wait()
            if self._closed_reason is not None:
                raise BusClosed(reason=self._closed_reason)

    async def is_ready(self) -> bool:
        """Readiness check: connected, and streams and durables are as declared."""
        return self.is_connected and not self.is_closed and self.topology_ok

    def on_disconnect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back whenever the connection is lost; returns a function that ends that."""
        self._on_disconnect.append(callback)
        return lambda: _remove(self._on_disconnect, callback)

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> Callable[[], None]:
        """Call back after each reconnect, subscriptions being there again; must be quick."""
        self._on_reconnect.append(callback)
        return lambda: _remove(self._on_reconnect, callback)

    # -- JetStream -----------------------------------------------------------------------

    async def publish(
        self,
        subject: str,
        body: bytes,
        *,
        message_id: str | None,
        headers: Mapping[str, str] | None = None,
        seconds: float = 5.0,
    ) -> PubAck:
        """Publish to a stream and wait until it is stored (see ``Publisher.publish``)."""
        return await self._publisher.publish(
            Outgoing(subject, body, message_id, headers), seconds=seconds
        )

    async def publish_many(
        self,
        messages: Sequence[Outgoing],
        *,
        seconds: float = 5.0,
    ) -> list[PubAck | NoetlError]:
        """Publish to streams side by side; each result is an ack or that message's error."""
        return await self._publisher.publish_many(messages, seconds=seconds)

    async def hand_over(self, message: Outgoing, *, acknowledge_to: str) -> None:
        """Publish to a stream without waiting; the acknowledgement goes to another subject.

        Without a connection the message is dropped at once; without a subject to acknowledge to
        the outcome stays unknown.

        Raises:
            TooLarge: it is above the broker's limit.
        """
        headers = dict(message.headers) if message.headers else {}
        if message.message_id is not None:
            headers[MESSAGE_ID_HEADER] = message.message_id
        data = wire.command(message.subject, message.body, reply=acknowledge_to, headers=headers)
        self._check_size(message.subject, data)
        if self.is_connected:
            await wire.write(self.nc, data)

    # -- core NATS -----------------------------------------------------------------------

    async def send(
        self,
        subject: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        reply: str = "",
    ) -> None:
        """Send a message that may be lost: without a connection it is dropped at once.

        On ``reply`` the broker answers "no responders" when there is no subscriber.

        Raises:
            TooLarge: the body is above the broker's limit.
        """
        data = wire.command(subject, body, reply=reply, headers=headers)
        self._check_size(subject, data)
        if self.is_connected:
            await wire.write(self.nc, data)

    def send_nowait(self, subject: str, body: bytes) -> None:
        """Like ``send``, for callers that can't await; for small bodies."""
        if self.is_connected and subject:
            wire.write_nowait(self.nc, wire.command(subject, body))

    async def reply(self, subject: str, body: bytes) -> None:
        """Answer to the inbox subject of a request; a large body goes in numbered parts.

        Without a connection the answer is dropped: the sender asks again.
        """
        if not self.is_connected or not subject:
            return
        limit = self.largest_message - _CONTROL_LINE
        if len(body) <= limit:
            await wire.write(self.nc, wire.command(subject, body))
            return
        for headers, part in split(body, limit=limit):
            await wire.write(self.nc, wire.command(subject, bytes(part), headers=headers))

    async def request(
        self,
        subject: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        seconds: float,
        repeat_seconds: float | None = None,
    ) -> Incoming:
        """Send a request and wait for its answer, joined if it came in parts.

        A request on its way when the connection is lost fails at once: question or answer are
        most likely lost too, and requests may be repeated. One that another connection has lost
        is known by nothing but silence: after ``repeat_seconds``, doubled each time, it is sent
        again, and the first answer counts.

        Raises:
            BusUnavailable: no connection or answer in time, or no service listens.
            TooLarge: the request is above the broker's limit.
        """
        with self.answers.expect() as waiter:
            data = wire.command(subject, body, reply=waiter.subject, headers=headers)
            self._check_size(subject, data)
            try:
                async with asyncio.timeout(seconds):
                    await self.wait_connected()
                    await wire.write(self.nc, data)
                    if repeat_seconds is None:
                        incoming = await self._answered(waiter, subject)
                    else:

                        def repeat(reply: str) -> None:
                            again = wire.command(subject, body, reply=reply, headers=headers)
                            if self.is_connected:
                                wire.write_nowait(self.nc, again)

                        with waiter.repeating(repeat, repeat_seconds):
                            incoming = await self._answered(waiter, subject)
            except TimeoutError:
                raise BusUnavailable(what=subject, reason=f"no answer in {seconds:g} s") from None
        if incoming.is_no_responders:
            raise BusUnavailable(what=subject, reason="nobody listens")
        return incoming

    def inbox(self) -> Inbox:
        """Return the inbox of this connection: one subscription, many waiters."""
        return self.answers

    async def subscribe(
        self, subject: str, take: Callable[[Incoming], None], *, queue: str = ""
    ) -> Subscription:
        """Call ``take`` for each message, from the read loop: it must be quick.

        Errors of ``take`` are logged. Subscriptions survive reconnects.
        """
        return await self.subscribe_raw(
            subject,
            lambda msg: take(Incoming(msg.subject, msg.data, msg.headers or {}, msg.reply)),
            queue=queue,
        )

    async def subscribe_raw(
        self, subject: str, take: Callable[[Msg], None], *, queue: str = ""
    ) -> Subscription:
        """Like ``subscribe``, with the client's message object."""
        sink: Any = Sink(take, lambda error: _log.error("message_not_taken", exc_info=error))
        raw = await self.nc.subscribe(subject, queue=queue, future=sink, pending_bytes_limit=0)
        return Subscription(self, raw)

    async def flush(self, seconds: float = _LAST_FLUSH_SECONDS) -> bool:
        """Wait until the broker has seen everything sent so far; False if it doesn't answer."""
        return self.is_connected and await wire.ping(self.nc, seconds=seconds)

    async def _answered(self, waiter: Waiter, subject: str) -> Incoming:
        answer = waiter.answer
        self._asked[answer] = subject
        try:
            return await answer
        finally:
            self._asked.pop(answer, None)

    def _check_size(self, subject: str, data: bytes) -> None:
        if len(data) > self.largest_message:
            raise TooLarge(what=subject, size=len(data), limit=self.largest_message)

    # -- life ----------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, however long it takes; each failed attempt is logged."""
        login = self.settings.nats_login()
        key = self.settings.key_login()
        if key is not None:
            wire.log_in_by_key(self.nc, key.public)
        await self.nc.connect(
            servers=self.settings.nats_servers(),
            name=self.name,
            user=login[0] if login else None,
            password=login[1] if login else None,
            signature_cb=self._sign if key else None,
            user_jwt_cb=self._token if key and key.token else None,
            connect_timeout=self.settings.nats_connect_timeout_seconds,  # type: ignore[arg-type]  # a float does
            # With a finite number the client closes itself one day and the process is deaf.
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.25,  # type: ignore[arg-type]  # first connect only
            reconnect_to_server_handler=self._next_server,
            ping_interval=self.settings.nats_ping_seconds,  # type: ignore[arg-type]
            max_outstanding_pings=2,
            pending_size=_PENDING_BYTES,
            inbox_prefix=self.settings.inbox_prefix(),
            tls=_tls_of(self.settings),
            error_cb=self._errored,
            disconnected_cb=self._disconnected,
            reconnected_cb=self._reconnected,
            closed_cb=self._was_closed,
        )
        self.answers.prefix = f"{self.nc.new_inbox()}."
        await self.subscribe_raw(f"{self.answers.prefix}*", self.answers.deliver)
        self._up.set(1)
        self._connected.set()

    def _sign(self, text: str) -> bytes:
        # Read anew: a file of credentials may have been renewed since.
        key = self.settings.key_login()
        return key.sign(text) if key else b""

    def _token(self) -> bytes:
        key = self.settings.key_login()
        return key.token.encode() if key else b""

    async def close(self) -> None:
        """Send the rest of the buffer and close the connection."""
        if self._closed_reason is None:
            await self.flush()
        self._closed_reason = "closed by us"
        if wire.was_started(self.nc):
            await self.nc.close()

    async def watch(self) -> None:
        """Replace a connection that has died without a word, and a client that lost its tasks."""
        while not self.is_closed:
            await asyncio.sleep(_WATCH_SECONDS)
            try:
                await self._look_after()
            except Exception as error:  # noqa: BLE001 -- who watches goes on
                _log.error("bus_watch_failed", bus=self.name, exc_info=error)

    async def _look_after(self) -> None:
        if not wire.has_lost_its_loops(self.nc):
            await self.probe.cut_dead()
            return
        _log.error("bus_client_broken", connected=self.nc.is_connected)
        if self.nc.is_connected:
            await self.nc.force_reconnect()
        else:
            await self.nc.close()

    def _next_server(
        self, servers: list[Server], _info: dict[str, Any]
    ) -> tuple[Server | None, float]:
        """Choose where and when to try next: back-off with jitter, all servers in turn."""
        server = min(servers, key=lambda entry: entry.reconnects)
        longest = self.settings.nats_reconnect_max_seconds
        pause = min(longest, 0.05 * 2 ** min(server.reconnects, 10)) if server.reconnects else 0.0
        return server, pause * random.uniform(0.5, 1.0)  # noqa: S311 -- jitter

    async def _errored(self, error: Exception) -> None:
        text, now = repr(error), monotonic()
        if (refused := _FORBIDDEN.search(text)) is not None:
            self._forbidden(refused[1])
        if isinstance(error, nats.errors.UnexpectedEOF) or (
            text == self._last_error[0] and now - self._last_error[1] < _REPEAT_SECONDS
        ):
            return
        self._last_error = (text, now)
        _log.warning("bus_error", error=text, bus=self.name)

    def _forbidden(self, subject: str) -> None:
        """Fail messages and requests on a forbidden subject; the broker names it in lower case."""
        self.forbidden.add(family(subject))
        forbidden = BusForbidden(user=self.settings.user(), what=subject)
        self._publisher.on_forbidden(subject, forbidden)
        for answer, asked in self._asked.items():
            if asked.lower() == subject and not answer.done():
                answer.set_exception(forbidden)

    async def _disconnected(self) -> None:
        self._connected.clear()
        self._up.set(0)
        wire.forget_unsent(self.nc)
        if self._closed_reason is None:
            _log.warning("bus_disconnected", bus=self.name)
        self._publisher.on_disconnected()
        lost = BusUnavailable(what="a request", reason="the connection was lost")
        for answer in self._asked:
            if not answer.done():
                answer.set_exception(lost)
        for callback in list(self._on_disconnect):
            callback()

    async def _reconnected(self) -> None:
        self._reconnects.inc()
        self._up.set(1)
        self.forbidden.clear()
        self._connected.set()
        _log.info("bus_reconnected", bus=self.name)
        await self._publisher.on_reconnected()
        for callback in list(self._on_reconnect):
            try:
                await callback()
            except Exception as error:  # noqa: BLE001 -- it would end the client's reconnecting
                _log.error("reconnect_callback_failed", exc_info=error)

    async def _was_closed(self) -> None:
        if self._closed_reason is None:
            self._closed_reason = repr(self.nc.last_error) if self.nc.last_error else "unknown"
            _log.error("bus_closed", reason=self._closed_reason)
        self._up.set(0)
        # Wakes the waiters of `wait_connected`, which then raises.
        self._connected.set()


@asynccontextmanager
async def connect(settings: NatsSettings, *, name: str) -> AsyncIterator[Bus]:
    """Open a connection, waiting until the broker is there; closed in good order at the end.

    Bound the wait with ``asyncio.timeout`` where there is a reason to.
    """
    bus = Bus(settings, name=name)
    watch: asyncio.Task[None] | None = None
    try:
        await bus.open()
        watch = asyncio.create_task(bus.watch(), name=f"{name}: bus watch")
        yield bus
    finally:
        if watch is not None:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
        await bus.close()


def _tls_of(settings: NatsSettings) -> ssl.SSLContext | None:
    if not settings.has_tls():
        return None
    return broker_tls(ca=settings.nats_ca, cert=settings.nats_cert, key=settings.nats_key)


def _remove[T](items: list[T], item: T) -> None:
    with suppress(ValueError):
        items.remove(item)
