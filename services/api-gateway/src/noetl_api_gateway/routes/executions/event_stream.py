"""The event stream of one execution: `…/events/stream` (P4).

The log is the source. A stream subscribes to the commits of its execution, reads the log up to its
end, and reads on when a commit tells of later positions. A silent stream looks into the log from
time to time, so order, repetition and loss of messages do not matter, and nothing waits here for a
slow client.
"""

import asyncio
from typing import TYPE_CHECKING, Literal

from noetl_bus.inbox import Incoming
from noetl_common.logging import get_logger
from noetl_contract.access.rights import Right
from noetl_contract.events import CommitMessage, status_of_terminal
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
from noetl_api_gateway.intake.streams import SSE_HEADERS, client_gone, write_chunk
from noetl_api_gateway.metrics import OPEN_STREAMS
from noetl_api_gateway.routes.executions.output_lines import OutputLines

if TYPE_CHECKING:
    from litestar.types import Receive, Scope, Send


type WantedOutput = Literal["none", "too", "only"]

_log = get_logger()


_GATHER_SECONDS = 0.01


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
        output: send the lines that steps print, too, or only them and the end.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        execution_id: int,
        types: frozenset[str],
        has_text_ids: bool,
        output: WantedOutput = "none",
    ) -> None:
        self._gateway = gateway
        self._execution_id = execution_id
        self._types = types
        self._has_text_ids = has_text_ids
        self._position = 0
        self._output = output
        self._has_news = True
        self._wake = asyncio.Event()
        self._lines = OutputLines(
            wake=self._wake.set, ask_again=lambda: gateway.watches.ask_again(execution_id)
        )

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
            await send({"type": "http.response.start", "status": 200, "headers": [*SSE_HEADERS]})
            async with asyncio.TaskGroup() as group:
                watcher = group.create_task(client_gone(receive))
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
        await write_chunk(send, b"retry: 3000\n\n")
        # Subscribed before the first read, so that no later commit is missed.
        subject = commits_of_execution_filter(self._execution_id)
        subscription = await self._gateway.bus.subscribe(subject, self._on_message)
        try:
            if self._output == "none":
                await self._follow(send)
            else:
                async with self._gateway.watches.watch(self._execution_id, self._lines.take):
                    await self._follow(send)
        finally:
            await subscription.unsubscribe()

    def _on_message(self, message: Incoming) -> None:
        """Hear of new positions; what isn't readable says that there may be some."""
        try:
            last = CommitMessage.from_json(message.data).last
        except ValueError:
            last = self._position + 1
        if last > self._position:
            self._has_news = True
            self._wake.set()

    async def _follow(self, send: "Send") -> None:
        settings = self._gateway.settings
        loop = asyncio.get_running_loop()
        spoke_at, look_at = loop.time(), 0.0
        while True:
            self._wake.clear()
            if await self._write_output(send):
                spoke_at = loop.time()
            if self._has_news or loop.time() >= look_at:
                self._has_news = False
                look_at = loop.time() + settings.stream_poll_seconds
                said, ended = await self._write_events(send)
                if ended is not None:
                    await self._write_output(send)
                    await write_chunk(send, self._end(ended))
                    return
                if said:
                    spoke_at = loop.time()
            if self._has_news:
                continue
            if await self._wait(max(look_at - loop.time(), 0)):
                # Commits of a busy execution come in quick succession: one read serves several.
                await asyncio.sleep(_GATHER_SECONDS)
            if loop.time() - spoke_at >= settings.stream_heartbeat_seconds:
                await write_chunk(send, b": keep-alive\n\n")
                spoke_at = loop.time()

    async def _write_events(self, send: "Send") -> tuple[bool, str | None]:
        """Send one page of the log; return whether anything was sent, and the status at its end."""
        page = await self._read_log()
        if page is None:
            return False, None
        said = False
        for event in page.events:
            if self._wants(event):
                await write_chunk(send, self._message(event))
                said = True
            self._position = event.position
            ended = status_of_terminal(event.event_type or "")
            if ended is not None:
                return said, ended
        if len(page.events) >= self._gateway.settings.stream_page_size:
            self._has_news = True
        elif page.status != "RUNNING" and self._position >= page.position:
            return said, page.status
        return said, None

    async def _write_output(self, send: "Send") -> bool:
        shown = self._lines.shown()
        for one in shown:
            body = one.model_dump()
            await write_chunk(send, b"event: output\ndata: %s\n\n" % self._data(body))
        return bool(shown)

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
        if self._output == "only":
            return False
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
