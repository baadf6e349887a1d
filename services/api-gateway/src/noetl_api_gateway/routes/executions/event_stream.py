"""The event stream of one execution: `…/events/stream` (P4).

The log is the source. A stream subscribes to the execution's events, reads the log up to its end,
and then sends from the messages what follows on the position it has sent. What is missing there
for more than a moment is read from the log, and a silent stream looks into the log from time to
time; so order, repetition and loss of messages do not matter. What waits for a slow client is
bounded: what finds no room is read later.
"""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
from noetl_common.bus.inbox import Incoming
from noetl_common.logging import get_logger
from noetl_contract.access.rights import Right
from noetl_contract.events import EventMessage, status_of_terminal
from noetl_contract.http.masking import masked
from noetl_contract.http.scalars import parse_i64
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc.operation import encode_value
from noetl_contract.rpc.projector import EXECUTIONS_TAIL, ExecutionTail, TailEvent, TailRequest
from noetl_contract.subjects import events_of_execution_filter

from noetl_api_gateway.gateway import Gateway
from noetl_api_gateway.http.answers import with_text_ids
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.fields import query_text
from noetl_api_gateway.http.refusals import RETRY_AFTER, Refusal, busy
from noetl_api_gateway.metrics import OPEN_STREAMS

if TYPE_CHECKING:
    from litestar.types import Receive, Scope, Send


_log = get_logger()


_GAP_SECONDS = 0.05  # how late a missing message may be before the log is read
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
        # Values that are to be masked are known where the log is: it is read for each message.
        self._has_secrets = False
        self._heard: dict[int, _Event] = {}
        self._wake = asyncio.Event()

    async def open(self, last_event_id: int | None) -> None:
        """Find the position to go on from.

        Raises:
            Refusal: 404 for an unknown execution.
        """
        page = await self._tail(limit=1, after_event_id=last_event_id)
        self._position = page.after_position
        self._has_secrets = page.has_secrets

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
        subject = events_of_execution_filter(self._execution_id)
        subscription = await self._gateway.bus.subscribe(subject, self._on_message)
        try:
            await self._follow(send)
        finally:
            await subscription.unsubscribe()

    def _on_message(self, message: Incoming) -> None:
        """Keep an event for sending; those without room are read from the log later."""
        event = None if self._has_secrets else _live_event(message.data)
        if event is not None and len(self._heard) < self._gateway.settings.stream_page_size:
            self._heard[event.position] = event
        self._wake.set()

    async def _follow(self, send: "Send") -> None:
        settings = self._gateway.settings
        loop = asyncio.get_running_loop()
        spoke_at = loop.time()
        is_behind = True
        gap_since: float | None = None
        while True:
            self._wake.clear()
            events, page = self._take_heard(), None
            if is_behind and not events:
                page = await self._read_log()
                events = [] if page is None else [_logged(event) for event in page.events]
            for event in events:
                if self._wants(event):
                    await _write(send, self._message(event))
                    spoke_at = loop.time()
                self._position = event.position
                ended = status_of_terminal(event.event_type)
                if ended is not None:
                    await _write(send, self._end(ended))
                    return
            if page is not None:
                if len(events) >= settings.stream_page_size:
                    continue
                if page.status != "RUNNING" and self._position >= page.position:
                    await _write(send, self._end(page.status))
                    return
            # Something later was heard already: what is missing is either on its way, moments
            # away, or has to be read.
            has_gap = bool(self._heard)
            gap_since = (gap_since or loop.time()) if has_gap else None
            is_woken = await self._wait(_GAP_SECONDS if has_gap else settings.stream_poll_seconds)
            is_overdue = gap_since is not None and loop.time() - gap_since >= _GAP_SECONDS
            is_behind = not is_woken or is_overdue or not self._heard
            if loop.time() - spoke_at >= settings.stream_heartbeat_seconds:
                await _write(send, b": keep-alive\n\n")
                spoke_at = loop.time()

    def _take_heard(self) -> "list[_Event]":
        """Take the next events from the messages."""
        events: list[_Event] = []
        while (event := self._heard.pop(self._position + len(events) + 1, None)) is not None:
            events.append(event)
        reached = self._position + len(events)
        for position in [position for position in self._heard if position <= reached]:
            del self._heard[position]
        return events

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

    def _wants(self, event: "_Event") -> bool:
        return not self._types or event.event_type in self._types

    def _message(self, event: "_Event") -> bytes:
        shown: JsonObject = {
            "event_id": event.event_id,
            "event_type": event.event_type,
            "node_name": event.node_name,
            "status": event.status or "UNKNOWN",
            "created_at": event.created_at,
            "result": event.result,
            "error": event.error,
            "execution_id": self._execution_id,
        }
        if event.cause is not None:
            shown["cause"] = event.cause
        return b"id: %d\nevent: event\ndata: %s\n\n" % (event.event_id, self._data(shown))

    def _end(self, status: str) -> bytes:
        ended = {"execution_id": self._execution_id, "status": status}
        return b"event: end\ndata: %s\n\n" % self._data(ended)

    def _data(self, body: JsonObject) -> bytes:
        return encode_value(with_text_ids(body) if self._has_text_ids else body)


@dataclass(frozen=True, slots=True)
class _Event:
    """An event to send, from the log or from a message."""

    position: int
    event_id: int
    event_type: str
    node_name: str | None
    status: str | None
    created_at: str
    result: Json
    error: str | None
    cause: Json = None


def _logged(event: TailEvent) -> _Event:
    return _Event(
        position=event.position,
        event_id=event.event_id,
        event_type=event.event_type or "",
        node_name=event.node_name,
        status=event.status,
        created_at=event.created_at,
        result=event.result,
        error=event.error,
        cause=None if event.cause is None else event.cause.model_dump(exclude_none=True),
    )


def _live_event(data: bytes) -> _Event | None:
    """Read an event from its message, secrets masked; None when only the log has it whole."""
    try:
        event: EventMessage = orjson.loads(data)
        if event.get("payload_omitted"):
            return None
        return _Event(
            position=event["position"],
            event_id=event["event_id"],
            event_type=event["event_type"],
            node_name=event["node_name"],
            status=event["status"],
            created_at=event["created_at"],
            result=masked(event["result"]),
            error=event["error"],
            cause=masked(_cause_in(event)),
        )
    except (orjson.JSONDecodeError, AttributeError, KeyError):
        return None  # no message of ours


def _cause_in(event: EventMessage) -> Json:
    meta = event["meta"]
    ends = status_of_terminal(event["event_type"]) is not None
    return meta.get("cause") if ends and isinstance(meta, dict) else None


async def _write(send: "Send", chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _client_gone(receive: "Receive") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
