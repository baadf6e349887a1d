"""Run one request's handler: its turn, its deadline, its errors as replies, its metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic, perf_counter

from nats.aio.msg import Msg
from noetl_common import metrics
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_common.telemetry.carrier import carry, read_context
from noetl_common.telemetry.span import Span
from noetl_common.telemetry.tracing import tracing
from noetl_contract.rpc import RpcReply, encode_reply

from noetl_bus.broker import Bus
from noetl_bus.rpc.handlers import Handler
from noetl_bus.rpc.headers import is_late
from noetl_bus.rpc.replies import reply_to_error

_log = get_logger()
_WAITING_PER_SLOT = 32
_REFUSAL = encode_reply(RpcReply(status=503, error="too many requests are waiting"))


class Rules:
    """Runs the handlers of one server, ``concurrency`` of them at a time."""

    def __init__(self, bus: Bus, *, concurrency: int) -> None:
        self.most_taken = concurrency * (1 + _WAITING_PER_SLOT)
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
        """Call a handler when it is its turn; None when the sender has given up by then."""
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
            # Here, because it takes a tenth of a second that processes without secrets can spare.
            from noetl_bus.rpc.sealing import sealed_answer  # noqa: PLC0415 -- see above

            return sealed_answer(headers, body)
        return body

    async def reply(self, subject: str, body: bytes) -> None:
        """Send an answer, in parts if it is large; what is lost is asked for again."""
        try:
            await self._bus.reply(subject, body)
        except NoetlError as error:
            _log.warning("rpc_answer_lost", error=error.message)

    def take(self, subject: str, handler: Handler) -> None:
        """Run this handler for the requests on a subject; its counts begin at 0."""
        self.handlers[subject] = handler
        for status in ("200", "500", "503"):
            self._handled.labels(handler.name, status)

    def refuse(self, message: Msg) -> None:
        """Answer a request for which there is no room."""
        self._handled.labels(self.handlers[message.subject].name, "503").inc()
        self._bus.send_nowait(message.reply, _REFUSAL)


def _span(handler: Handler, headers: Mapping[str, str] | None) -> Span | None:
    """Open the span of a request that comes with a context; it lasts as long as its task."""
    recorder = tracing()
    parent = read_context(headers) if recorder is not None else None
    if recorder is None or parent is None:
        return None
    operation = handler.operation
    span = recorder.begin(f"{operation.service} {operation.name}", parent, kind="server")
    carry(span.context)
    return span
