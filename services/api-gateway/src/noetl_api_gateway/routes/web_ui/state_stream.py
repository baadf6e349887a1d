"""`GET /events`: changes of executions for pages, and the results of their requests (P4, P5).

The form is that of a gateway: each message is one of JSON-RPC, its name that of the event.
"""

import asyncio
import heapq
import math
import re
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING
from uuid import uuid4

from litestar.types import ASGIApp
from noetl_contract.access.principal import Principal
from noetl_contract.access.rights import Right
from noetl_contract.json import Json, JsonObject
from noetl_contract.pages import CLIENT_ID, PageResult
from noetl_contract.rpc.operation import encode_value

from noetl_api_gateway.access.gatekeeper import gatekeeper_of
from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.fields import query_text
from noetl_api_gateway.http.openapi import StreamedEvent
from noetl_api_gateway.http.refusals import Refusal, busy
from noetl_api_gateway.intake.streams import SSE_HEADERS, client_gone, write_chunk
from noetl_api_gateway.metrics import OPEN_STREAMS
from noetl_api_gateway.routes.forwarding import Topic
from noetl_api_gateway.routes.web_ui.tokens import LOCAL, holder_of, owner_of
from noetl_api_gateway.routes.web_ui.waiting import Waiting, result_params, state_params
from noetl_api_gateway.upstream.pages.states import Listener, RequestNews, StateChange

TOPIC = Topic("executions")

if TYPE_CHECKING:
    from litestar.types import Receive, Scope, Send

_CLIENT_ID = re.compile(CLIENT_ID, re.ASCII)
_REST_SECONDS = 30.0
_AGAIN_SECONDS = (1.0, 4.0, 15.0)
"""Pauses after which a result is sent once more. A page drops results of requests whose id it does
not know yet, because the answer to its start is still under way or being read."""
_MOST_AGAIN_BYTES = 16 << 20
"""Most bytes kept for repeats; above it the oldest is sent at once for the last time."""
_INVALID_SESSION = -32002
_DENIED = -32003


@TOPIC.route(
    "GET /events",
    StreamedEvent,
    needs=Right.PUBLIC,
    summary="Follow changes of executions, as pages do behind a gateway",
    content_type="text/event-stream",
    query={
        "session_token": (str, "the page's token; an EventSource sends no headers"),
        "client_id": (str, "`clientId` of the connection before"),
    },
)
async def state_events(request: AnyRequest, gateway: OpenGateway) -> ASGIApp:
    """Stream ends of executions from now on, and stored results of the page's own requests.

    A `playbook/result` comes several times, for a page that does not know its request yet, and
    again when the page comes back with its `client_id`.
    """
    token = (query_text(request.query_params, "session_token") or "").strip()
    who = await holder_of(request, token)
    if who is None:
        return _Rejection(_INVALID_SESSION, "Invalid or expired session")
    if not who.may(Right.EXECUTIONS_READ):
        return _Rejection(_DENIED, "Permission denied")
    named = query_text(request.query_params, "client_id") or ""
    client_id = named if _CLIENT_ID.fullmatch(named) else str(uuid4())
    return StateStream(request, gateway, who=who, token=token, client_id=client_id)


class _Rejection:
    """An event stream with one message, the refusal; status 200, as pages read no other."""

    def __init__(self, code: int, message: str) -> None:
        self._error = {"jsonrpc": "2.0", "error": {"code": code, "message": message}}

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Send it and end."""
        del scope, receive
        await send({"type": "http.response.start", "status": 200, "headers": [*SSE_HEADERS]})
        await write_chunk(send, _event("error", self._error))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class StateStream:
    """An event stream of one page; an ASGI application.

    Args:
        request: of the page.
        gateway: the open parts.
        who: holder of the token.
        token: is looked at again while the stream is open.
        client_id: name of the connection, for the page.
    """

    def __init__(
        self, request: AnyRequest, gateway: Gateway, *, who: Principal, token: str, client_id: str
    ) -> None:
        self._gatekeeper = gatekeeper_of(request)
        self._gateway = gateway
        self._who = who
        self._token = token
        self._client_id = client_id
        self._waiting = Waiting(
            gateway, client_id=client_id, owner=owner_of(who), may_see=self._is_in_reach
        )
        self._again = Repeats()

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Send changes until the page leaves, falls behind or loses its login, or the edge stops.

        Raises:
            Refusal: 503 when too many streams are open, 429 when they are this client's.
        """
        if self._who is not LOCAL:
            scope["user"] = self._who
        places = self._gateway.places
        full = places.full(scope)
        if full is not None:
            text = f"Too many event streams of this {full} are open"
            raise busy("Too many event streams are open") if full == "all" else Refusal(429, text)
        places.take(scope)
        OPEN_STREAMS.inc()
        try:
            async with self._gateway.states.listening(self._client_id) as listener:
                await send(
                    {"type": "http.response.start", "status": 200, "headers": [*SSE_HEADERS]}
                )
                await self._serve(listener, receive, send)
        finally:
            places.leave(scope)
            OPEN_STREAMS.dec()

    async def _serve(self, listener: Listener, receive: "Receive", send: "Send") -> None:
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(client_gone(receive))
            tasks = {
                watcher,
                group.create_task(self._pump(listener, send)),
                group.create_task(listener.is_behind.wait()),
                group.create_task(self._gateway.closing.wait()),
                group.create_task(self._until_refused()),
            }
            await asyncio.wait(tasks, return_when="FIRST_COMPLETED")
            is_heard = not watcher.done()
            for task in tasks:
                task.cancel()
        if is_heard:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pump(self, listener: Listener, send: "Send") -> None:
        results = await self._waiting.posted()
        results += await self._waiting.ended()
        hello = _hello(self._client_id, self._waiting.shown())
        await write_chunk(send, b"retry: 3000\n\n" + _event("message", hello))
        await write_chunk(send, _call("ping", {}))
        await self._write_results(send, results)
        loop, settings = asyncio.get_running_loop(), self._gateway.settings
        ping_at = loop.time() + settings.stream_heartbeat_seconds
        look_at = loop.time() + settings.stream_poll_seconds
        while True:
            try:
                async with asyncio.timeout_at(min(ping_at, look_at, self._again.at)):
                    news = await listener.waiting.get()
            except TimeoutError:
                news = None
            match news:
                case StateChange():
                    await self._write_change(send, news)
                case RequestNews():
                    await self._write_news(send, news)
            for chunk in self._again.due(loop.time()):
                await write_chunk(send, chunk)
            if loop.time() >= ping_at:
                await write_chunk(send, _call("ping", {}))
                ping_at = loop.time() + settings.stream_heartbeat_seconds
            if loop.time() >= look_at:
                await self._write_results(send, await self._waiting.posted())
                await self._write_results(send, await self._waiting.ended())
                # Of a page that waits for nothing the news come by themselves.
                pause = settings.stream_poll_seconds if self._waiting.is_open else _REST_SECONDS
                look_at = loop.time() + pause

    async def _write_change(self, send: "Send", change: StateChange) -> None:
        if not await self._is_in_reach(change.execution_id):
            return
        await write_chunk(send, _call("playbook/state", change.shown))
        if change.is_end:
            await self._write_results(send, await self._waiting.ended(change.execution_id))

    async def _write_news(self, send: "Send", news: RequestNews) -> None:
        hint = news.hint
        if hint.kind != "progress":
            await self._write_results(send, await self._waiting.posted())
            if self._waiting.has_had(hint.request_id):
                await self._gateway.bus.reply(news.reply, b"{}")
        elif self._waiting.has(hint.request_id):
            await write_chunk(send, _call("playbook/progress", hint.progress))

    async def _write_results(self, send: "Send", results: Sequence[PageResult]) -> None:
        for result in results:
            await write_chunk(send, _call("playbook/state", state_params(result)))
            chunk = _call("playbook/result", result_params(result))
            await write_chunk(send, chunk)
            self._again.put(chunk, asyncio.get_running_loop().time())

    async def _is_in_reach(self, execution_id: int) -> bool:
        if self._gatekeeper is None or self._who.is_whole:
            return True
        try:
            return await self._gatekeeper.reach.has_execution(self._who, execution_id)
        except Refusal:
            return False

    async def _until_refused(self) -> None:
        """Wait until the token is no longer valid, or lacks the right to read executions."""
        if self._gatekeeper is None:
            await asyncio.Event().wait()
            return
        identities = self._gatekeeper.identities
        while True:
            await identities.doubt()
            try:
                found = await identities.behind(self._token)
            except Refusal as refusal:
                # A token that can't be looked up now is asked again.
                if refusal.status == 401:
                    return
                continue
            if not found.may(Right.EXECUTIONS_READ):
                return
            self._who = found


class Repeats:
    """Results that are sent again a few times."""

    def __init__(self) -> None:
        # (due time, index of the next pause, chunk to send)
        self._waiting: list[tuple[float, int, bytes]] = []
        self._bytes = 0

    @property
    def at(self) -> float:
        """The time at which the next repeat is due, by the clock of the loop."""
        return self._waiting[0][0] if self._waiting else math.inf

    def put(self, chunk: bytes, now: float, *, repeats: int = 0) -> None:
        """Keep a chunk for its next repeat, unless it was repeated often enough."""
        if repeats < len(_AGAIN_SECONDS):
            heapq.heappush(self._waiting, (now + _AGAIN_SECONDS[repeats], repeats, chunk))
            self._bytes += len(chunk)

    def due(self, now: float) -> Iterator[bytes]:
        """Yield the chunks that are due, in order of time."""
        while self._waiting and (self.at <= now or self._bytes > _MOST_AGAIN_BYTES):
            is_early = self.at > now
            _, repeats, chunk = heapq.heappop(self._waiting)
            self._bytes -= len(chunk)
            if not is_early:
                self.put(chunk, now, repeats=repeats + 1)
            yield chunk


def _hello(client_id: str, pending: list[JsonObject]) -> JsonObject:
    waits: JsonObject = {"pendingRequests": pending} if pending else {}
    return {
        "jsonrpc": "2.0",
        "id": 1,
        "result": {
            "protocolVersion": "2024-11-05",
            "serverInfo": {"name": "noetl-gateway", "version": version("noetl-api-gateway")},
            "clientId": client_id,
            "capabilities": {
                "playbooks": True,
                "callbacks": True,
                "subscriptions": False,
                "playbookState": True,
            },
            **waits,
        },
    }


def _call(method: str, params: JsonObject) -> bytes:
    return _event(method, {"jsonrpc": "2.0", "method": method, "params": params})


def _event(name: str, body: Json) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), encode_value(body))
