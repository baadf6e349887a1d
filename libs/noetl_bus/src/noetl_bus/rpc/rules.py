"""Requests of one server: their arrival, their slots, their errors as replies, and metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from time import monotonic, perf_counter

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription
from noetl_common import metrics
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_common.telemetry.carrier import carry, read_context
from noetl_common.telemetry.span import Span
from noetl_common.telemetry.tracing import tracing
from noetl_contract.rpc import RpcReply, encode_reply

from noetl_bus.broker import Bus, Subscription
from noetl_bus.rpc.handlers import Handler, reply_to_error
from noetl_bus.rpc.headers import is_late

_log = get_logger()
_WAITING_PER_SLOT = 32
_REFUSAL = encode_reply(RpcReply(status=503, error="too many requests are waiting"))

RawRequest = Msg
"""A received request: body, headers and reply subject."""


class Listener:
    """Core subscriptions of one server, and its accepted requests.

    Args:
        bus: the connection.
        limit: maximum number of accepted requests; beyond it, `refuse` is called.
        refuse: answers immediately, from the read loop.
    """

    def __init__(self, bus: Bus, *, limit: int, refuse: Callable[[Msg], None]) -> None:
        self._bus = bus
        self._limit = limit
        self._refuse = refuse
        self._subscriptions: list[Subscription] = []
        self._accepted: set[asyncio.Future[None]] = set()

    async def listen(
        self, subject: str, answer: Callable[[Msg], Awaitable[None]], *, queue: str
    ) -> NatsSubscription:
        """Call ``answer`` for each request on a subject; servers of the queue share requests."""
        subscription = await self._bus.subscribe_raw(
            subject, partial(self._on_request, answer), queue=queue
        )
        self._subscriptions.append(subscription)
        return subscription.raw

    async def drain(self) -> None:
        """Stop listening, and return when all accepted requests are answered."""
        # Each drain is a round trip, so they run concurrently.
        await asyncio.gather(*(subscription.drain() for subscription in self._subscriptions))
        self._subscriptions.clear()
        try:
            while self._accepted:
                await asyncio.wait(self._accepted)
        finally:
            for task in self._accepted:
                task.cancel()

    def _on_request(self, answer: Callable[[Msg], Awaitable[None]], message: Msg) -> None:
        if len(self._accepted) >= self._limit:
            self._refuse(message)
            return
        task = asyncio.ensure_future(answer(message))
        self._accepted.add(task)
        task.add_done_callback(self._accepted.discard)


class Rules:
    """Runs the handlers of one server, ``concurrency`` of them at a time."""

    def __init__(self, bus: Bus, *, concurrency: int) -> None:
        self.most_accepted = concurrency * (1 + _WAITING_PER_SLOT)
        self.handlers: dict[str, Handler] = {}
        self._bus = bus
        self._slots = asyncio.Semaphore(concurrency)
        self._handled = metrics.counter(
            "noetl_rpc_requests_total", "Requests by outcome.", ("family", "status")
        )
        self._duration = metrics.histogram(
            "noetl_rpc_duration_seconds", "Time in the handler.", ("family",)
        )

    async def run(
        self,
        handler: Handler,
        headers: Mapping[str, str] | None,
        call: Callable[[], Awaitable[RpcReply]],
        *,
        arrived: float,
    ) -> bytes | None:
        """Call a handler when a slot is free; return None if the request has timed out by then."""
        async with self._slots:
            if is_late(headers, waited_seconds=monotonic() - arrived):
                self._handled.labels(handler.name, "late").inc()
                return None
            started = perf_counter()
            span = _span(handler, headers)
            try:
                reply = await call()
                body = encode_reply(reply)
            except Exception as error:  # noqa: BLE001 -- edge of the service: the caller must get an answer
                reply = reply_to_error(error, name=handler.name, has_details=handler.has_details)
                body = encode_reply(reply)
            self._handled.labels(handler.name, str(reply.status)).inc()
            self._duration.labels(handler.name).observe(perf_counter() - started)
            if span is not None:
                span.end(error=str(reply.status) if reply.status >= 500 else None)
        if handler.operation.is_secret:
            # Imported here, because it takes a tenth of a second that most processes don't need.
            from noetl_bus.rpc.sealing import sealed_answer  # noqa: PLC0415 -- see above

            return sealed_answer(headers, body)
        return body

    async def reply(self, subject: str, body: bytes) -> None:
        """Send an answer, in parts if it is large; if it is lost, the sender retries."""
        try:
            await self._bus.reply(subject, body)
        except NoetlError as error:
            _log.warning("rpc_answer_lost", error=error.message)

    def add(self, subject: str, handler: Handler) -> None:
        """Add the handler of the requests on a subject; its counters start at 0."""
        self.handlers[subject] = handler
        for status in ("200", "500", "503"):
            self._handled.labels(handler.name, status)

    def refuse(self, message: Msg) -> None:
        """Refuse a request because too many requests wait."""
        self._handled.labels(self.handlers[message.subject].name, "503").inc()
        self._bus.send_nowait(message.reply, _REFUSAL)


def _span(handler: Handler, headers: Mapping[str, str] | None) -> Span | None:
    """Begin the span of a request with a trace context; the span lasts as long as its task."""
    recorder = tracing()
    parent = read_context(headers) if recorder is not None else None
    if recorder is None or parent is None:
        return None
    operation = handler.operation
    span = recorder.begin(f"{operation.service} {operation.name}", parent, kind="server")
    carry(span.context)
    return span
