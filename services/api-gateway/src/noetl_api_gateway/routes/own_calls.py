"""Calls of console, MCP and GraphQL to the API of their own process, with their caller's login.

They take the way of all requests, with its rights, bounds and metrics, but for the network.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlencode

from noetl_console.api import Answer, Transport

from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.http.shell import (
    Application,
    Message,
    Receive,
    Scope,
    Send,
    choosing,
)
from noetl_api_gateway.intake.peers import CLIENT

APPLICATION_STATE = "application"
"""Key of the application's state for itself, which answers these calls."""

_KEPT = ("asgi", "client", CLIENT, "extensions", "http_version", "root_path", "scheme", "server")
_PASSED_ON = frozenset({b"host", b"x-request-id", b"traceparent", b"tracestate"})
_LOGINS = frozenset({b"authorization", b"x-session-token"})
_MOST_BYTES = 64 << 20


class OwnCalls:
    """Carries calls of one page request.

    Args:
        app: the whole application.
        scope: of the page request, whose address and certificate the calls have.
        token: of the person; empty: the login that the page request itself shows.
        execution_id: under which a call that starts an execution starts it.
    """

    def __init__(
        self,
        app: Application,
        scope: Mapping[str, Any],
        token: str,
        *,
        execution_id: int | None = None,
    ) -> None:
        self._app = app
        self._scope = scope
        self._execution_id = execution_id
        names = _PASSED_ON if token else _PASSED_ON | _LOGINS
        self._headers = [one for one in scope["headers"] if one[0] in names]
        if token:
            self._headers.append((b"authorization", b"Bearer " + token.encode()))

    async def __call__(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes | None,
        key: str | None = None,
    ) -> Answer:
        """Make one call; its answer is complete when this returns."""
        sent = body or b""
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(sent)).encode()),
        ]
        if key is not None:
            headers.append((b"idempotency-key", key.encode("ascii")))
        scope = self._scope_of(method, path, query, headers if body is not None else [])
        if self._execution_id is not None:
            scope = choosing(scope, self._execution_id)
        answering = _Answering(sent)
        await self._app(scope, answering.receive, answering.send)
        return Answer(answering.status, b"".join(answering.parts))

    def passed_on(self, path: str, query: Mapping[str, str]) -> Application:
        """Return an application that streams the answer to a call as the page's answer."""
        scope = self._scope_of("GET", path, query, [])

        async def answer(_scope: Scope, receive: Receive, send: Send) -> None:
            await self._app(scope, receive, send)

        return answer

    def _scope_of(
        self, method: str, path: str, query: Mapping[str, str], headers: list[tuple[bytes, bytes]]
    ) -> Scope:
        return {
            **{name: self._scope[name] for name in _KEPT if name in self._scope},
            "type": "http",
            "method": method,
            "path": unquote(path),
            "raw_path": path.encode("ascii"),
            "query_string": urlencode(query).encode(),
            "headers": [*self._headers, *headers],
            "state": {},
        }


class _Answering:
    """Both ends of one call."""

    def __init__(self, body: bytes) -> None:
        self.status = 500
        self.parts: list[bytes] = []
        self._body = body
        self._size = 0
        self._is_sent = False

    async def receive(self) -> Message:
        if self._is_sent:
            return {"type": "http.disconnect"}
        self._is_sent = True
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            part = message.get("body", b"")
            self._size += len(part)
            if self._size > _MOST_BYTES:
                raise Refusal(502, f"An answer for the console has more than {_MOST_BYTES} bytes")
            self.parts.append(part)


def transport(app: Application, scope: Mapping[str, Any], token: str) -> Transport:
    """Return the transport for the calls of a page request."""
    return OwnCalls(app, scope, token)
