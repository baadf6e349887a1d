"""ASGI wrapper of the app: path prefixes, CORS, `HEAD` and `OPTIONS`, probes, metrics.

The prefixes are `/noetl/…` and `/c/<execution>/<event>/…`, which named the calling command (L6)
in notifications of the release before; now its name is that of HTTP Basic.
A path that ends in a slash, or has two in a row, is 404.
It is a plain ASGI application, because the framework's middleware runs behind its router, and
unknown paths never get there.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from time import perf_counter
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson
from noetl_common.health import HealthRoutes
from noetl_common.service import Service
from noetl_contract.access.capability import basic_login, named_command

from noetl_api_gateway.metrics import http_metrics

ENCODED_SLASH = "\ue02f"
"""Stands in a routed path for a slash that was percent-encoded, so that it splits no segment."""

_VARY = (b"vary", b"origin, access-control-request-method, access-control-request-headers")
_BROWSER_MARKS = frozenset({b"origin", b"sec-fetch-site", b"referer"})
_TOKEN = b"x-session-token"
_CALL = re.compile(r"/c/([0-9]{1,19})/([0-9]{1,19})(/api/.*)", re.DOTALL)
_ENCODED_SLASH = re.compile("%2f", re.IGNORECASE)
_REQUEST_HEADERS = b"access-control-request-headers"
_PROBES = {"/healthz": "/healthz", "/readyz": "/readyz", "/ready": "/readyz"}
_ALIAS = "noetl.alias"
_CALL_KEY = "noetl.call"

type Header = tuple[bytes, bytes]
type Scope = MutableMapping[str, Any]
type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def is_browser_like(scope: Mapping[str, Any]) -> bool:
    """Whether ids in the answer must be strings: a browser rounds integers."""
    has_token = any(name == _TOKEN for name, _ in scope["headers"])
    return has_token or bool(scope.get(_ALIAS)) or is_browser(scope)


def is_browser(scope: Mapping[str, Any]) -> bool:
    """Whether the client is a web page; prefix and token alone may also come from the CLI."""
    return any(name in _BROWSER_MARKS for name, _ in scope["headers"])


def call_of(scope: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return (execution id, event id) of the command whose run makes this call (L6)."""
    call: tuple[int, int] | None = scope.get(_CALL_KEY)
    return call


class Shell:
    """Wrap the routed application.

    Args:
        app: the routed application.
        origins: browser origins that may read answers; empty means loopback ones.
        service: the process; its probes are answered here.
    """

    def __init__(self, app: Application, *, origins: Iterable[str], service: Service) -> None:
        self.service = service
        self._app = app
        self._probes = HealthRoutes(service)
        self._origins = frozenset(origin.rstrip("/") for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        cors = self._cors_headers(scope)
        send = _with_headers(send, cors)
        if scope["method"] == "OPTIONS":
            await _answer(send, 200, b"", _preflight(scope) if cors[1:] else ())
            return
        if scope["path"] in _PROBES:
            await self._probes({**scope, "path": _PROBES[scope["path"]]}, receive, send)
            return
        inner = _routed(scope)
        # The router would forgive slashes that the contract doesn't.
        if inner["path"].endswith("/") or "//" in inner["path"]:
            await _answer(send, 404, _NOT_FOUND, ((b"content-type", b"application/json"),))
            return
        if inner["method"] == "HEAD":
            inner["method"] = "GET"
            send = _without_body(send)
        await self._measured(inner, receive, send)

    async def _measured(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = 0
        started = perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = scope.get("path_template") or "unmatched"
            served, duration = http_metrics(route, scope["method"], status)
            served.inc()
            duration.observe(perf_counter() - started)

    def _cors_headers(self, scope: Scope) -> tuple[Header, ...]:
        origin = next((value for name, value in scope["headers"] if name == b"origin"), None)
        if origin is None or not self._is_allowed(origin.decode("latin-1")):
            return (_VARY,)
        return (_VARY, (b"access-control-allow-origin", origin))

    def _is_allowed(self, origin: str) -> bool:
        if self._origins:
            return origin in self._origins
        try:
            host = urlsplit(origin).hostname
        except ValueError:
            return False
        return host in {"localhost", "127.0.0.1", "::1"}


_NOT_FOUND = orjson.dumps({"error": "Not Found", "status": 404, "detail": "Not Found"})


def _preflight(scope: Scope) -> tuple[Header, ...]:
    """Allow every method and header; `*` leaves out `Authorization`, which UIs send."""
    wanted = (value for name, value in scope["headers"] if name == _REQUEST_HEADERS)
    needs_login = any(b"authorization" in value.lower() for value in wanted)
    return (
        (b"access-control-allow-methods", b"*"),
        (b"access-control-allow-headers", b"*, authorization" if needs_login else b"*"),
    )


def _routed(scope: Scope) -> Scope:
    """Copy the scope with aliases replaced: `/noetl/…`, `/c/<execution>/<event>/api/…`."""
    inner: Scope = {**scope}
    path = inner["path"] = _decoded_path(scope)
    if path.startswith("/noetl/"):
        inner["path"] = f"/api/{path[7:]}"
        inner[_ALIAS] = True
    elif (match := _CALL.fullmatch(path)) is not None:
        inner["path"] = match[3]
        inner[_CALL_KEY] = (int(match[1]), int(match[2]))
    if _CALL_KEY not in inner and (named := _named_in_login(scope)) is not None:
        inner[_CALL_KEY] = named
    if inner["path"].startswith("/api/catalog//"):
        # The path of an entry may begin with a slash of its own.
        inner["path"] = inner["path"].replace("//", f"/{ENCODED_SLASH}", 1)
    return inner


def _named_in_login(scope: Scope) -> tuple[int, int] | None:
    """Return the command that the user name of HTTP Basic names."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            login = basic_login(value)
            return None if login is None else named_command(login[0])
    return None


def _decoded_path(scope: Scope) -> str:
    """Return the path with encoded slashes kept apart from real ones."""
    raw: bytes = scope.get("raw_path") or b""
    if b"%2f" not in raw.lower():
        path: str = scope["path"]
        return path
    pieces = _ENCODED_SLASH.split(raw.partition(b"?")[0].decode("latin-1"))
    return ENCODED_SLASH.join(unquote(piece) for piece in pieces)


def _with_headers(send: Send, headers: tuple[Header, ...]) -> Send:
    async def adding(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *headers]
        await send(message)

    return adding


def _without_body(send: Send) -> Send:
    """Answer the head alone: it is complete with the first piece of a body, also of a stream."""
    is_over = False

    async def cutting(message: Message) -> None:
        nonlocal is_over
        if is_over:
            return
        if message["type"] == "http.response.body":
            is_over = True
            message = {"type": message["type"], "body": b"", "more_body": False}
        await send(message)

    return cutting


async def _answer(
    send: Send,
    status: int,
    body: bytes,
    headers: Iterable[Header] = (),
) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body, "more_body": False})
