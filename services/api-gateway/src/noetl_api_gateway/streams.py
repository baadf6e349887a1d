"""The event stream of one execution: `…/events/stream` (http-b 6.2, design P4).

The log is the source: a stream reads it after the position it has sent. Messages on the events
subject only say that there is something to read; a lost one is made up for by looking from time
to time. So order, repetition and gaps of messages do not matter, and nothing queues up here for
a slow client: it is simply read for later.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from noetl_common.logging import get_logger
from noetl_contract.events import TERMINAL_TYPES
from noetl_contract.subjects import events_of_execution_filter

from noetl_api_gateway.answers import encode, with_text_ids
from noetl_api_gateway.edge import Edge
from noetl_api_gateway.fields import parse_i64
from noetl_api_gateway.metrics import OPEN_STREAMS
from noetl_api_gateway.refusals import Refusal, busy
from noetl_api_gateway.request import AnyRequest
from noetl_api_gateway.services import body_of

if TYPE_CHECKING:
    from litestar.types import Receive, Scope, Send

__all__ = ["EventStream", "read_cursor"]

_log = get_logger()

type Object = dict[str, Any]

_ROUNDING = 128  # browsers send ids rounded by less than this
_SHOWN = ("event_id", "event_type", "node_name", "status", "created_at", "result", "error")
_HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


def read_cursor(request: AnyRequest) -> int | None:
    """Return the id of the last event that the client has.

    Raises:
        Refusal: 400 when it is not a number.
    """
    query = request.query_params
    raw = (
        request.headers.get("last-event-id")
        or query.get("last_event_id")
        or query.get("since_event_id")
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
        edge: the open parts.
        execution_id: whose events.
        types: event types to send; empty means all.
        has_text_ids: send ids as strings.
    """

    def __init__(
        self, edge: Edge, *, execution_id: int, types: frozenset[str], has_text_ids: bool
    ) -> None:
        self._edge = edge
        self._execution_id = execution_id
        self._types = types
        self._has_text_ids = has_text_ids
        self._position = 0
        self._wake = asyncio.Event()

    async def open(self, last_event_id: int | None) -> None:
        """Find the position to go on from.

        Raises:
            Refusal: 404 for an unknown execution, 503 when too many streams are open.
        """
        if self._edge.open_streams >= self._edge.settings.max_event_streams:
            raise busy("Too many event streams are open")
        if last_event_id is None:
            await self._tail(limit=1)
        else:
            self._position = await self._position_of(last_event_id)

    async def __call__(self, _scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Send events until the execution ends, the client leaves, or the process stops."""
        self._edge.open_streams += 1
        OPEN_STREAMS.inc()
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS]})
            async with asyncio.TaskGroup() as group:
                watcher = group.create_task(_client_gone(receive))
                pump = group.create_task(self._pump(send))
                closing = group.create_task(self._edge.closing.wait())
                await asyncio.wait({watcher, pump, closing}, return_when="FIRST_COMPLETED")
                is_heard = not watcher.done()
                for task in (watcher, pump, closing):
                    task.cancel()
            if is_heard:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._edge.open_streams -= 1
            OPEN_STREAMS.dec()

    async def _pump(self, send: "Send") -> None:
        await _write(send, b"retry: 3000\n\n")
        # Subscribed before the first read: what is committed after it is heard of.
        subject = events_of_execution_filter(self._execution_id)
        subscription = await self._edge.bus.subscribe(subject, self._on_message)
        try:
            await self._follow(send)
        finally:
            await subscription.unsubscribe()

    def _on_message(self, _message: object) -> None:
        self._wake.set()

    async def _follow(self, send: "Send") -> None:
        settings = self._edge.settings
        loop = asyncio.get_running_loop()
        spoke_at = loop.time()
        while True:
            self._wake.clear()
            try:
                page = await self._tail(limit=settings.stream_page_size)
            except Refusal as refusal:
                _log.info("event_stream_waits", reason=refusal.text)
                page = {"events": []}
            events: list[Object] = page["events"]
            for event in events:
                if self._wants(event):
                    await _write(send, self._message(event))
                    spoke_at = loop.time()
                self._position = event["position"]
                if event["event_type"] in TERMINAL_TYPES:
                    await _write(send, self._end(page))
                    return
            if len(events) >= settings.stream_page_size:
                continue
            if _has_ended(page) and self._position >= page["position"]:
                await _write(send, self._end(page))
                return
            await self._wait(settings.stream_poll_seconds)
            if loop.time() - spoke_at >= settings.stream_heartbeat_seconds:
                await _write(send, b": keep-alive\n\n")
                spoke_at = loop.time()

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _tail(self, *, limit: int, after: int | None = None) -> Object:
        reply = await self._edge.services.projector(
            "executions.tail",
            {
                "execution_id": self._execution_id,
                "after_position": self._position if after is None else after,
                "limit": limit,
            },
            execution_id=self._execution_id,
        )
        page: Object = body_of(reply)
        return page

    async def _position_of(self, event_id: int) -> int:
        """Translate an event id into its position.

        An id that the log does not have was rounded by a browser: go on before the first event
        whose id is above the rounding, and rather repeat than lose.
        """
        position, fallback = 0, None
        while True:
            page = await self._tail(limit=self._edge.settings.stream_page_size, after=position)
            events: list[Object] = page["events"]
            for event in events:
                position = int(event["position"])
                if event["event_id"] == event_id:
                    return position
                if fallback is None and event["event_id"] > event_id - _ROUNDING:
                    fallback = position - 1
            if not events:
                return position if fallback is None else fallback

    def _wants(self, event: Object) -> bool:
        return not self._types or event["event_type"] in self._types

    def _message(self, event: Object) -> bytes:
        shown: Object = {name: event.get(name) for name in _SHOWN}
        shown["status"] = shown["status"] or "UNKNOWN"
        return b"id: %d\nevent: event\ndata: %s\n\n" % (event["event_id"], self._data(shown))

    def _end(self, page: Object) -> bytes:
        return b"event: end\ndata: %s\n\n" % self._data({"status": page["status"]}, first=True)

    def _data(self, body: Object, *, first: bool = False) -> bytes:
        own = {"execution_id": self._execution_id}
        whole = own | body if first else body | own
        return encode(with_text_ids(whole) if self._has_text_ids else whole)


def _has_ended(page: Object) -> bool:
    return page.get("status") not in {None, "RUNNING"}


async def _write(send: "Send", chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _client_gone(receive: "Receive") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
