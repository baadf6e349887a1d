"""The connection to the broker: its state, its lifecycle, and sending over it."""

# size: sending depends on the state of the connection, which is kept in one place

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
from noetl_bus.settings import NatsSettings, broker_tls

if TYPE_CHECKING:
    from nats.js import JetStreamContext

_log = get_logger()
_CONTROL_LINE = 1024
"""Bytes reserved for subject and reply of a message, which count towards the broker's limit."""
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
        """End the subscription; messages on their way are dropped."""
        if not self.bus.nc.is_closed:
            await self.raw.unsubscribe()

    async def drain(self) -> None:
        """End the subscription after the messages on their way have been received."""
        nc = self.bus.nc
        if nc.is_connected:
            await nc._send_unsubscribe(self.raw._id)  # noqa: SLF001 -- `drain` uses `flush`, see wire.ping
            await self.bus.flush()
        nc._remove_sub(self.raw._id)  # noqa: SLF001


class Bus:
    """A connection to NATS that reconnects for ever, with all ways to send over it.

    :func:`connect` opens it.

    Attributes:
        nc: the NATS client, for uses without a method here.
        js: the client's own access to JetStream.
        topology_ok: whether streams and durables are in place; set by ``run_topology_watch``.
        forbidden: operations of the JetStream API, and families of subjects, for which the login
            has no right.
        probe: detects that the connection is dead.
        answers: the inbox of the connection.
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
        self._requests: dict[asyncio.Future[Incoming], str] = {}
        self._last_error = ("", 0.0)
        self._on_disconnect: list[Callable[[], None]] = []
        self._on_reconnect: list[Callable[[], Awaitable[None]]] = []
        self._up = metrics.gauge("noetl_nats_connected", "1 while connected to the broker.")
        self._reconnects = metrics.counter(
            "noetl_nats_reconnects_total", "Reconnects to the broker."
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
        """Maximum size of headers and body of one message, in bytes."""
        return self.nc.max_payload

    async def wait_connected(self) -> None:
        """Wait until there is a connection.

        Raises:
            BusClosed: the connection is closed for good.
        """
        if self._closed_reason is not None:
            raise BusClosed(reason=self._closed_reason)
        if not self._connected.is_set():
            await self._connected.wait()
            if self._closed_reason is not None:
                raise BusClosed(reason=self._closed_reason)

    async def is_ready(self) -> bool:
        """Return whether the bus is connected, and streams and durables are as declared."""
        return self.is_connected and not self.is_closed and self.topology_ok

    def on_disconnect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` whenever the connection is lost; return a function that ends this."""
        self._on_disconnect.append(callback)
        return lambda: _remove(self._on_disconnect, callback)

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> Callable[[], None]:
        """Call ``callback``, which must be quick, after each reconnect and its resubscriptions."""
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
        """Publish to streams concurrently; each result is an ack or the error of its message."""
        return await self._publisher.publish_many(messages, seconds=seconds)

    async def publish_without_waiting(self, message: Outgoing, *, acknowledge_to: str) -> None:
        """Publish to a stream without waiting; the broker acknowledges to another subject.

        Without a connection, the message is dropped. If ``acknowledge_to`` is empty, the outcome
        stays unknown.

        Raises:
            TooLarge: the message exceeds the broker's limit.
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
        """Send a message that may be lost; without a connection, it is dropped.

        If there is no subscriber, the broker answers "no responders" to ``reply``.

        Raises:
            TooLarge: the message exceeds the broker's limit.
        """
        data = wire.command(subject, body, reply=reply, headers=headers)
        self._check_size(subject, data)
        if self.is_connected:
            await wire.write(self.nc, data)

    def send_nowait(self, subject: str, body: bytes) -> None:
        """Send a small message like ``send``, for callers that can't await."""
        if self.is_connected and subject:
            wire.write_nowait(self.nc, wire.command(subject, body))

    async def reply(self, subject: str, body: bytes) -> None:
        """Answer to the inbox subject of a request; a large body is sent in numbered parts.

        Without a connection, the answer is dropped, and the sender retries the request.
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
        """Send a request and return its answer; the parts of a large answer are joined.

        If the connection is lost, pending requests fail immediately: the request or its answer is
        most likely lost too, and a request is safe to retry. If the service's connection is lost,
        there is just no answer. So after ``repeat_seconds``, doubled each time, the request is sent
        again, and the first answer counts.

        Raises:
            BusUnavailable: there is no connection or no answer in time, or no service listens.
            TooLarge: the request exceeds the broker's limit.
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
                            repetition = wire.command(subject, body, reply=reply, headers=headers)
                            if self.is_connected:
                                wire.write_nowait(self.nc, repetition)

                        with waiter.repeating(repeat, repeat_seconds):
                            incoming = await self._answered(waiter, subject)
            except TimeoutError:
                raise BusUnavailable(what=subject, reason=f"no answer in {seconds:g} s") from None
        if incoming.is_no_responders:
            raise BusUnavailable(what=subject, reason="no service listens")
        return incoming

    def inbox(self) -> Inbox:
        """Return the inbox of this connection: one subscription, many waiters."""
        return self.answers

    async def subscribe(
        self, subject: str, take: Callable[[Incoming], None], *, queue: str = ""
    ) -> Subscription:
        """Call ``take``, which must be quick, for each message from the read loop.

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
        """Subscribe like ``subscribe``, but pass the client's message objects."""
        sink: Any = Sink(take, lambda error: _log.error("message_not_handled", exc_info=error))
        raw = await self.nc.subscribe(subject, queue=queue, future=sink, pending_bytes_limit=0)
        return Subscription(self, raw)

    async def flush(self, seconds: float = _LAST_FLUSH_SECONDS) -> bool:
        """Wait until the broker has received everything sent so far; return whether it has."""
        return self.is_connected and await wire.ping(self.nc, seconds=seconds)

    async def _answered(self, waiter: Waiter, subject: str) -> Incoming:
        answer = waiter.answer
        self._requests[answer] = subject
        try:
            return await answer
        finally:
            self._requests.pop(answer, None)

    def _check_size(self, subject: str, data: bytes) -> None:
        if len(data) > self.largest_message:
            raise TooLarge(what=subject, size=len(data), limit=self.largest_message)

    # -- life ----------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, with retries until it succeeds; each failed attempt is logged."""
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
            # With a finite number, the client would close itself one day.
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
        # A credentials file may have been renewed, so it is read again.
        key = self.settings.key_login()
        return key.sign(text) if key else b""

    def _token(self) -> bytes:
        key = self.settings.key_login()
        return key.token.encode() if key else b""

    async def close(self) -> None:
        """Send the rest of the buffer and close the connection."""
        if self._closed_reason is None:
            await self.flush()
        self._closed_reason = "closed by this process"
        if wire.was_started(self.nc):
            await self.nc.close()

    async def watch(self) -> None:
        """Replace a half-open connection, and a client that has lost its tasks."""
        while not self.is_closed:
            await asyncio.sleep(_WATCH_SECONDS)
            try:
                await self._check_client()
            except Exception as error:  # noqa: BLE001 -- the watch has to go on
                _log.error("bus_watch_failed", bus=self.name, exc_info=error)

    async def _check_client(self) -> None:
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
        """Choose the next server in turn, and the pause before the attempt, with jitter."""
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
        """Fail messages and requests on a forbidden subject, given in lower case by the broker."""
        self.forbidden.add(family(subject))
        forbidden = BusForbidden(user=self.settings.user(), what=subject)
        self._publisher.on_forbidden(subject, forbidden)
        for answer, requested in self._requests.items():
            if requested.lower() == subject and not answer.done():
                answer.set_exception(forbidden)

    async def _disconnected(self) -> None:
        self._connected.clear()
        self._up.set(0)
        wire.forget_unsent(self.nc)
        if self._closed_reason is None:
            _log.warning("bus_disconnected", bus=self.name)
        self._publisher.on_disconnected()
        lost = BusUnavailable(what="a request", reason="the connection was lost")
        for answer in self._requests:
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
            except Exception as error:  # noqa: BLE001 -- an error would stop the client's reconnects
                _log.error("reconnect_callback_failed", exc_info=error)

    async def _was_closed(self) -> None:
        if self._closed_reason is None:
            self._closed_reason = repr(self.nc.last_error) if self.nc.last_error else "unknown"
            _log.error("bus_closed", reason=self._closed_reason)
        self._up.set(0)
        # `wait_connected` wakes up and raises.
        self._connected.set()


@asynccontextmanager
async def connect(settings: NatsSettings, *, name: str) -> AsyncIterator[Bus]:
    """Wait for the broker and open a connection, which is closed in order at the end.

    The wait has no timeout of its own; use ``asyncio.timeout`` if one is needed.
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
