"""The event stream of one execution: `…/events/stream` (P4).

The log is the source. A stream subscribes to the commits of its execution, reads the log up to its
end, and reads on when a commit tells of later positions. A silent stream looks into the log from
time to time, so order, repetition and loss of messages do not matter, and nothing waits here for a
slow client.
"""

import asyncio
from typing import TYPE_CHECKING

import orjson
from noetl_common.bus.inbox import Incoming
from noetl_common.logging import get_logger
from noetl_contract.access.rights import Right
from noetl_contract.events import status_of_terminal
from noetl_contract.http.scalars import parse_i64
from noetl_contract.json import JsonObject
from noetl_contract.rpc.operation import encode_value
from noetl_contract.rpc.projector import EXECUTIONS_TAIL, ExecutionTail, TailEvent, TailRequest
from noetl_contract.subjects import commits_of_execution_filter

from noetl_api_gateway.gateway import Gateway
from noetl_api_gateway.http.answers import with_text_ids
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.fields import query_text
from noetl_api_gateway.http.refusals import RETRY_AFTER, Refusal, busy
from noetl_api_gateway.metrics import OPEN_STREAMS

if TYPE_CHECKING:
    from litestar.types import Receive, Scope, Send


_log = get_logger()


_GATHER_SECONDS = 0.01
_HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


def _own(full: str) -> Refusal:
    text = f"Too many event streams of this {full} are open"
    return Refusal(429, text, headers={RETRY_AFTER: "5"})


def read_cursor(request: AnyRequest) -> int | None:
    """Return the id of the last event that the client has.

    Raises:
        Refusal: 400 when it is not a number.
    """
    query = request.query_params
    raw = (
        request.headers.get("last-event-id")
        or query_text(query, "last_event_id")
        or query_text(query, "since_event_id")
    )
    if raw is None or raw == "":
        return None
    number = parse_i64(raw.strip())
    if number is None:
        raise Refusal(400, f"Last-Event-ID is not a number: {raw[:100]}")
    return number


class EventStream:
    """An answer that stays open; an ASGI application.

    Args:
        gateway: the open parts.
        execution_id: the execution to follow.
        types: event types to send; empty means all.
        has_text_ids: send ids as strings.
    """

    def __init__(
        self, gateway: Gateway, *, execution_id: int, types: frozenset[str], has_text_ids: bool
    ) -> None:
        self._gateway = gateway
        self._execution_id = execution_id
        self._types = types
        self._has_text_ids = has_text_ids
        self._position = 0
        self._wake = asyncio.Event()

    async def open(self, last_event_id: int | None) -> None:
        """Find the position to go on from.

        Raises:
            Refusal: 404 for an unknown execution.
        """
        page = await self._tail(limit=1, after_event_id=last_event_id)
        self._position = page.after_position

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Send events until the execution's end, the client leaves or is refused, or we stop.

        Raises:
            Refusal: 503 when too many streams are open, 429 when they are this client's.
        """
        places = self._gateway.places
        full = places.full(scope)
        if full is not None:
            if full == "all":
                raise busy("Too many event streams are open")
            if self._gateway.gatekeeper is not None:
                self._gateway.gatekeeper.refused_here(Right.EXECUTIONS_READ, "limited")
            raise _own(full)
        places.take(scope)
        OPEN_STREAMS.inc()
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS]})
            async with asyncio.TaskGroup() as group:
                watcher = group.create_task(_client_gone(receive))
                pump = group.create_task(self._pump(send))
                closing = group.create_task(self._gateway.closing.wait())
                refused = group.create_task(self._until_refused(scope))
                tasks = {watcher, pump, closing, refused}
                await asyncio.wait(tasks, return_when="FIRST_COMPLETED")
                is_heard = not watcher.done()
                for task in tasks:
                    task.cancel()
            if is_heard:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            places.leave(scope)
            OPEN_STREAMS.dec()

    async def _until_refused(self, scope: "Scope") -> None:
        """Wait until the caller would not get the stream any more, as its key was revoked."""
        gatekeeper = self._gateway.gatekeeper
        if gatekeeper is None:
            await asyncio.Event().wait()
        else:
            await gatekeeper.until_refused(scope, self._execution_id, right=Right.EXECUTIONS_READ)

    async def _pump(self, send: "Send") -> None:
        await _write(send, b"retry: 3000\n\n")
        # Subscribed before the first read, so that no later commit is missed.
        subject = commits_of_execution_filter(self._execution_id)
        subscription = await self._gateway.bus.subscribe(subject, self._on_message)
        try:
            await self._follow(send)
        finally:
            await subscription.unsubscribe()

    def _on_message(self, message: Incoming) -> None:
        """Hear of new positions; what isn't readable says that there may be some."""
        try:
            last = int(orjson.loads(message.data)["last"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            last = self._position + 1
        if last > self._position:
            self._wake.set()

    async def _follow(self, send: "Send") -> None:
        settings = self._gateway.settings
        loop = asyncio.get_running_loop()
        spoke_at = loop.time()
        while True:
            self._wake.clear()
            page = await self._read_log()
            for event in () if page is None else page.events:
                if self._wants(event):
                    await _write(send, self._message(event))
                    spoke_at = loop.time()
                self._position = event.position
                ended = status_of_terminal(event.event_type or "")
                if ended is not None:
                    await _write(send, self._end(ended))
                    return
            if page is not None:
                if len(page.events) >= settings.stream_page_size:
                    continue
                if page.status != "RUNNING" and self._position >= page.position:
                    await _write(send, self._end(page.status))
                    return
            if await self._wait(settings.stream_poll_seconds):
                # Commits of a busy execution come in quick succession: one read serves several.
                await asyncio.sleep(_GATHER_SECONDS)
            if loop.time() - spoke_at >= settings.stream_heartbeat_seconds:
                await _write(send, b": keep-alive\n\n")
                spoke_at = loop.time()

    async def _read_log(self) -> ExecutionTail | None:
        try:
            return await self._tail(limit=self._gateway.settings.stream_page_size)
        except Refusal as refusal:
            _log.info("event_stream_waits", reason=refusal.text)
            return None

    async def _wait(self, seconds: float) -> bool:
        """Wait for a message; False after a timeout."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    async def _tail(self, *, limit: int, after_event_id: int | None = None) -> ExecutionTail:
        number = self._execution_id
        wanted = TailRequest(
            execution_id=number,
            after_position=self._position,
            after_event_id=after_event_id,
            limit=limit,
        )
        return await self._gateway.services.ask(EXECUTIONS_TAIL, wanted, execution_id=number)

    def _wants(self, event: TailEvent) -> bool:
        return not self._types or event.event_type in self._types

    def _message(self, event: TailEvent) -> bytes:
        shown: JsonObject = {
            "event_id": event.event_id,
            "event_type": event.event_type or "",
            "node_name": event.node_name,
            "status": event.status or "UNKNOWN",
            "created_at": event.created_at,
            "result": event.result,
            "error": event.error,
            "execution_id": self._execution_id,
        }
        if event.cause is not None:
            shown["cause"] = event.cause.model_dump(exclude_none=True)
        return b"id: %d\nevent: event\ndata: %s\n\n" % (event.event_id, self._data(shown))

    def _end(self, status: str) -> bytes:
        ended = {"execution_id": self._execution_id, "status": status}
        return b"event: end\ndata: %s\n\n" % self._data(ended)

    def _data(self, body: JsonObject) -> bytes:
        return encode_value(with_text_ids(body) if self._has_text_ids else body)


async def _write(send: "Send", chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _client_gone(receive: "Receive") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
