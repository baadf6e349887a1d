"""Request/reply between services: for what may be asked again.

A request carries a deadline (Unix milliseconds) for the books and its patience in milliseconds
for the decision to drop it: machines' clocks differ, and the wait that matters is the one in
the server's own queue.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from time import monotonic, perf_counter
from typing import Any

import orjson
from noetl_contract.ingress import DEADLINE_HEADER
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import family
from pydantic import ValidationError

from noetl_common import metrics
from noetl_common.bus.broker import Bus, Subscription
from noetl_common.bus.errors import BusUnavailable
from noetl_common.bus.inbox import Incoming
from noetl_common.clock import unix_ms
from noetl_common.errors import NoetlError, Transient, Unavailable
from noetl_common.logging import get_logger

__all__ = [
    "PATIENCE_HEADER",
    "RpcClient",
    "RpcHandler",
    "RpcUnavailable",
    "deadline_of",
    "encode_error",
    "encode_reply",
    "serve_rpc",
]

PATIENCE_HEADER = "Noetl-Patience-Ms"

type RpcHandler = Callable[[dict[str, Any]], Awaitable[RpcReply | dict[str, Any] | bytes]]

_log = get_logger()
_WAITING_PER_SLOT = 32
_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.5


class RpcUnavailable(Unavailable):
    """Nobody answered in time; whether the work was done is unknown."""

    template = "no answer from {what}: {reason}"


class RpcClient:
    """Asks other services."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def call(
        self,
        subject: str,
        request: dict[str, Any] | bytes,
        *,
        timeout: float,  # noqa: ASYNC109 -- the agreed signature
        wait_for_responder: bool = False,
    ) -> RpcReply:
        """Ask and return the answer, whatever its status.

        Args:
            subject: from ``subjects.rpc_subject``.
            request: a JSON object, or one already encoded.
            timeout: seconds; the other side drops the work when they are over.
            wait_for_responder: try again until then while nobody listens, as during a restart.

        Raises:
            RpcUnavailable: nobody listens, or no answer in time.
            TooLarge: the request is above the broker's limit.
        """
        body = request if isinstance(request, bytes) else orjson.dumps(request)
        end = monotonic() + timeout
        pause = _FIRST_PAUSE_SECONDS
        while True:
            left = end - monotonic()
            try:
                incoming = await self._bus.request(
                    subject, body, headers=_deadline_headers(left), timeout=left
                )
                return RpcReply.model_validate_json(incoming.data)
            except BusUnavailable as error:
                reason = error.context.get("reason", "")
                if not wait_for_responder or monotonic() + pause >= end:
                    raise RpcUnavailable(what=subject, reason=reason) from error
            except ValidationError as error:
                raise RpcUnavailable(what=subject, reason="an answer without sense") from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


def deadline_of(headers: Mapping[str, str]) -> int | None:
    """Return the deadline of a message in Unix milliseconds, if it has a legible one."""
    text = headers.get(DEADLINE_HEADER, "")
    return int(text) if text.isdigit() else None


def encode_reply(body: Any, *, status: int = 200) -> bytes:
    """Encode an answer without building a model; ``orjson.Fragment`` passes through."""
    return orjson.dumps(
        {"status": status, "body": body, "error": None, "detail": None}, default=str
    )


@asynccontextmanager
async def serve_rpc(
    bus: Bus,
    handlers: Mapping[str, RpcHandler],
    *,
    queue: str,
    concurrency: int = 64,
) -> AsyncIterator[None]:
    """Answer requests while the block lasts; replicas with the same ``queue`` share them.

    A handler returns an ``RpcReply``, a dict (the body of a 200) or bytes (an answer encoded
    by ``encode_reply``). A ``NoetlError`` becomes an answer with its status, anything else a
    500 and a log line. Requests nobody waits for any more are dropped; when too many wait, new
    ones are answered 503 at once. At the end, requests already taken are answered first.
    """
    server = _Server(bus, concurrency=concurrency)
    subscriptions: list[Subscription] = []
    workers = [asyncio.create_task(server.work(), name="rpc") for _ in range(concurrency)]
    try:
        for subject, handler in handlers.items():
            subscriptions.append(
                await bus.subscribe(subject, server.taker(subject, handler), queue=queue)
            )
        # Who is told that we serve may ask at once, over another connection.
        await bus.flush()
        yield
    finally:
        for subscription in subscriptions:
            await subscription.drain()
        server.finish()
        try:
            await asyncio.shield(asyncio.gather(*workers))
        finally:
            for worker in workers:
                worker.cancel()


class _Request:
    __slots__ = ("arrived", "handler", "incoming", "name")

    def __init__(self, incoming: Incoming, name: str, handler: RpcHandler) -> None:
        self.incoming = incoming
        self.name = name
        self.handler = handler
        self.arrived = monotonic()

    def is_late(self) -> bool:
        """Whether nobody waits for the answer any more."""
        patience = self.incoming.headers.get(PATIENCE_HEADER, "")
        if patience.isdigit():
            return (monotonic() - self.arrived) * 1000 >= int(patience)
        deadline = deadline_of(self.incoming.headers)
        return deadline is not None and unix_ms() > deadline


class _Server:
    """Requests wait in one queue; a fixed number of workers empties it."""

    def __init__(self, bus: Bus, *, concurrency: int) -> None:
        self._bus = bus
        self._most_waiting = concurrency * _WAITING_PER_SLOT
        self._waiting: deque[_Request] = deque()
        self._wake: deque[asyncio.Future[None]] = deque()
        self._ending = False
        self._handled = metrics.counter(
            "noetl_rpc_requests_total", "Requests by outcome.", ("family", "status")
        )
        self._duration = metrics.histogram(
            "noetl_rpc_duration_seconds", "Time in the handler.", ("family",)
        )

    def taker(self, subject: str, handler: RpcHandler) -> Callable[[Incoming], None]:
        """Return the function that takes requests on a subject."""
        name = family(subject)

        def take(incoming: Incoming) -> None:
            if len(self._waiting) >= self._most_waiting:
                self._handled.labels(name, "503").inc()
                self._bus.send_nowait(incoming.reply, _REFUSAL)
                return
            self._waiting.append(_Request(incoming, name, handler))
            self._wake_one()

        return take

    def finish(self) -> None:
        """Let the workers end once the queue is empty."""
        self._ending = True
        while self._wake:
            self._wake_one()

    async def work(self) -> None:
        """Take requests until the end."""
        while True:
            while not self._waiting:
                if self._ending:
                    return
                sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._wake.append(sleeper)
                await sleeper
            await self._answer(self._waiting.popleft())

    def _wake_one(self) -> None:
        while self._wake:
            sleeper = self._wake.popleft()
            if not sleeper.done():
                sleeper.set_result(None)
                return

    async def _answer(self, request: _Request) -> None:
        if request.is_late():
            self._handled.labels(request.name, "late").inc()
            return
        started = perf_counter()
        status, body = await _outcome(request)
        self._handled.labels(request.name, str(status)).inc()
        self._duration.labels(request.name).observe(perf_counter() - started)
        try:
            await self._bus.reply(request.incoming.reply, body)
        except NoetlError as error:
            _log.warning("rpc_answer_lost", operation=request.name, error=error.message)


async def _outcome(request: _Request) -> tuple[int, bytes]:
    """Run the handler; whatever happens becomes an answer."""
    try:
        body = orjson.loads(request.incoming.data or b"{}")
        if not isinstance(body, dict):
            raise TypeError("not an object")  # noqa: TRY301 -- handled like broken JSON
    except (ValueError, TypeError) as error:
        return 400, encode_error(400, f"the request is no JSON object: {error}")
    try:
        answer = await request.handler(body)
        return _encoded(answer)
    except NoetlError as error:
        if not isinstance(error, Transient) and error.http_status >= 500:
            _log.error("rpc_failed", operation=request.name, error=error.message)
        return error.http_status, encode_error(error.http_status, error.message, error.detail)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_context=False, include_input=False)
        return 422, encode_error(422, "the request has the wrong shape", detail)
    except Exception:  # noqa: BLE001 -- the edge of the service: the caller must get an answer
        _log.exception("rpc_failed", operation=request.name)
        return 500, encode_error(500, "internal error")


def _encoded(answer: RpcReply | dict[str, Any] | bytes) -> tuple[int, bytes]:
    if isinstance(answer, bytes):
        return 200, answer
    if isinstance(answer, RpcReply):
        return answer.status, orjson.dumps(
            {
                "status": answer.status,
                "body": answer.body,
                "error": answer.error,
                "detail": answer.detail,
            },
            default=str,
        )
    return 200, encode_reply(answer)


def encode_error(status: int, error: str, detail: Any = None) -> bytes:
    """Encode an answer that says why not."""
    return orjson.dumps(
        {"status": status, "body": None, "error": error, "detail": detail}, default=str
    )


def _deadline_headers(seconds: float) -> dict[str, str]:
    patience = max(1, int(seconds * 1000))
    return {DEADLINE_HEADER: str(unix_ms() + patience), PATIENCE_HEADER: str(patience)}


_REFUSAL = encode_error(503, "too many requests are waiting")
