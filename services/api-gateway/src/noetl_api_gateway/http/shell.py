"""ASGI wrapper of the app: paths, checks of names and origins, CORS, probes, metrics.

`/noetl/…` is an alias of `/api/…`. The user name of HTTP Basic names the calling command (L6).
A path that ends in a slash, or has two in a row, is 404.
It is a plain ASGI application, because the framework's middleware runs behind its router, and
unknown paths never get there.
"""

import math
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any
from urllib.parse import unquote

import orjson
from noetl_common.logging import get_logger
from noetl_common.telemetry.work import working_on
from noetl_contract.access.capability import basic_login, named_command
from noetl_service.health import HealthRoutes
from noetl_service.service import Service

from noetl_api_gateway.intake.bodies import ALWAYS, BodyBudget
from noetl_api_gateway.intake.names import Origins, ServerNames
from noetl_api_gateway.intake.peers import CLIENT, Proxies, address_of
from noetl_api_gateway.metrics import REFUSED, http_metrics
from noetl_api_gateway.rates import FailedLogins
from noetl_api_gateway.traces import carry_callers, end_request_span, request_span

ENCODED_SLASH = "\ue02f"
"""Stands in a routed path for a slash that was percent-encoded, so that it splits no segment."""

_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
_NO_STORE = (b"cache-control", b"no-store")
_CLOSE = (b"connection", b"close")
_SECRET_PATHS = (
    "/api/credentials",
    "/api/keychain",
    "/api/auth/",
    "/api/admin/keys",
    "/api/internal/cross-region/",
    "/api/internal/wallet/",
    "/api/gcp/token",
    "/api/links/",
)
_VARY = (b"vary", b"origin, access-control-request-method, access-control-request-headers")
_BROWSER_MARKS = frozenset({b"origin", b"sec-fetch-site", b"referer"})
_TOKEN = b"x-session-token"
_ENCODED_SLASH = re.compile("%2f", re.IGNORECASE)
_REQUEST_HEADERS = b"access-control-request-headers"
_PROBES = {"/healthz": "/healthz", "/readyz": "/readyz", "/ready": "/readyz"}
_ALIAS = "noetl.alias"
_CALL_KEY = "noetl.call"
_CHOSEN_KEY = "noetl.execution"

_log = get_logger()

type Header = tuple[bytes, bytes]
type Scope = MutableMapping[str, Any]
type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def is_browser_like(scope: Mapping[str, Any]) -> bool:
    """Return whether ids in the answer must be strings: a browser rounds integers."""
    has_token = any(name == _TOKEN for name, _ in scope["headers"])
    return has_token or bool(scope.get(_ALIAS)) or is_browser(scope)


def is_browser(scope: Mapping[str, Any]) -> bool:
    """Return whether the client is a web page; prefix and token may also come from the CLI."""
    return any(name in _BROWSER_MARKS for name, _ in scope["headers"])


def call_of(scope: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return (execution id, event id) of the command whose run makes this call (L6)."""
    call: tuple[int, int] | None = scope.get(_CALL_KEY)
    return call


def chosen_execution(scope: Mapping[str, Any]) -> int | None:
    """Return the id that a call of our own has chosen for the execution that it starts."""
    chosen: int | None = scope.get(_CHOSEN_KEY)
    return chosen


def choosing(scope: Scope, execution_id: int) -> Scope:
    """Return the scope of a call that starts an execution under an id."""
    return {**scope, _CHOSEN_KEY: execution_id}


@dataclass(frozen=True, slots=True)
class Door:
    """Limits of the requests that the shell accepts.

    Attributes:
        names: under which this server is called.
        origins: pages that may read or change something.
        bodies: budget of large bodies.
        logins: failed logins; None where they are not limited.
        proxies: trusted proxies, whose `X-Forwarded-For` counts.
    """

    names: ServerNames
    origins: Origins
    bodies: BodyBudget
    logins: FailedLogins | None = None
    proxies: Proxies = field(default_factory=Proxies)


class Shell:
    """Wrap the routed application.

    Args:
        app: the routed application.
        door: limits of the accepted requests.
        service: the process; its probes are answered here.
        lifespan: runs the process from the start of the server to its end.
    """

    def __init__(
        self,
        app: Application,
        *,
        door: Door,
        service: Service,
        lifespan: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> None:
        self.service = service
        self._lifespan = lifespan
        self._app = app
        self._door = door
        self._probes = HealthRoutes(service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] != "http":
            await receive()
            async with self._lifespan():
                await send({"type": "lifespan.startup.complete"})
                await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        marks = _marks(scope)
        if b"traceparent" in marks:
            carry_callers(marks)
        cors = self._cors_headers(marks)
        inner = _routed(scope, self._door.proxies)
        # Secrets must stay in no cache on their way.
        is_secret = inner["path"].startswith(_SECRET_PATHS)
        headers = (*cors, _NO_STORE) if is_secret else cors
        # The next request of this client is for another edge: here it would meet a closed port.
        send = _with_headers(send, (*headers, _CLOSE) if self.service.is_draining else headers)
        if scope["path"] in _PROBES:
            await self._probes({**scope, "path": _PROBES[scope["path"]]}, receive, send)
            return
        refusal = self._refusal(scope, marks)
        if refusal is not None:
            await _answer(send, refusal[0], _body(*refusal), _JSON)
            return
        if scope["method"] == "OPTIONS":
            await _answer(send, 200, b"", _preflight(scope) if len(cors) > _MEAGRE else ())
            return
        # The router would forgive slashes that the contract doesn't; people's pages may.
        is_page = inner["path"] == "/" or inner["path"].startswith(("/console/", "/ui/"))
        if not is_page and (inner["path"].endswith("/") or "//" in inner["path"]):
            await _answer(send, 404, _NOT_FOUND, _JSON)
            return
        if inner["method"] == "HEAD":
            inner["method"] = "GET"
            send = _without_body(send)
        body = self._door.bodies.open(address_of(inner)) if _is_large(marks) else None
        if body is not None:
            receive = body.counting(receive)
        try:
            await self._known(inner, receive, send)
        finally:
            if body is not None:
                body.close()

    async def _known(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request unless its client guesses logins."""
        logins = self._door.logins
        tokens = () if logins is None else _tokens(scope)
        if logins is None or not tokens:
            await self._measured(scope, receive, send)
            return
        address = address_of(scope)
        seconds = logins.wait(address, *tokens)
        if seconds:
            REFUSED.labels("logins").inc()
            again = (b"retry-after", b"%d" % math.ceil(seconds))
            await _answer(send, 429, _body(429, _GUESSING), (*_JSON, again))
            return
        status = await self._measured(scope, receive, send)
        # An answer of a route that asks for no login says nothing of it.
        is_good = scope.get("user") is not None
        if is_good or status == 401:
            logins.note(address, *tokens, is_good=is_good)

    async def _measured(self, scope: Scope, receive: Receive, send: Send) -> int:
        status = 0
        working_on(_Request(scope))
        span = request_span(scope)
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
            _log.debug("request_served", method=scope["method"], route=route, status=status)
            if span is not None:
                end_request_span(span, scope["method"], route, status)
        return status

    def _cors_headers(self, marks: "_Marks") -> tuple[Header, ...]:
        origin = marks.get(b"origin")
        if origin is None or not self._door.origins.may_read(origin.decode("latin-1")):
            return (_NO_SNIFFING, _VARY)
        return (_NO_SNIFFING, _VARY, (b"access-control-allow-origin", origin))

    def _refusal(self, scope: Scope, marks: "_Marks") -> tuple[int, str] | None:
        """Return status and text for a request under a wrong host name, or from a foreign page."""
        host = marks.get(b"host")
        if host is not None and not self._door.names.has(host):
            REFUSED.labels("host").inc()
            return 421, _WRONG_HOST.format(_shown(host))
        origin, site = marks.get(b"origin"), marks.get(b"sec-fetch-site")
        origins = self._door.origins
        if origins.may_change(scope["method"], origin=origin, site=site, host=host):
            return None
        REFUSED.labels("origin").inc()
        return 403, _WRONG_ORIGIN.format(_shown(origin or b"another site"))


class _Request:
    """A request as a unit of work: the execution that its path names, or its caller's."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    @property
    def execution_id(self) -> str | int | None:
        """The execution; None where neither path nor caller names one."""
        named: str | int | None = (self._scope.get("path_params") or {}).get("execution_id")
        call = call_of(self._scope)
        return named or (call[0] if call else None)


type _Marks = Mapping[bytes, bytes]
"""Headers that the shell's checks use; of repeated headers the last counts."""

_MARKS = frozenset(
    {
        b"host",
        b"origin",
        b"sec-fetch-site",
        b"content-length",
        b"transfer-encoding",
        b"traceparent",
        b"tracestate",
    }
)
_MEAGRE = 2  # headers for an origin that may not read
_JSON = ((b"content-type", b"application/json"),)
_GUESSING = "Too many failed logins of this address"
_WRONG_HOST = (
    "This server is not known by the name `{}`: NOETL_ALLOWED_HOSTS lists its names beside the "
    "host of NOETL_PUBLIC_SERVER_URL"
)
_WRONG_ORIGIN = (
    "A page of `{}` may not change anything here: NOETL_CORS_ALLOWED_ORIGINS lists the origins "
    "that may"
)


def _marks(scope: Scope) -> _Marks:
    return {name: value for name, value in scope["headers"] if name in _MARKS}


def _tokens(scope: Scope) -> tuple[bytes, ...]:
    """Return the tokens that could be guessed; the capability of a command can't be."""
    bearers = (
        value[7:].strip()
        for name, value in scope["headers"]
        if name == b"authorization" and value[:7].lower() == b"bearer "
    )
    sessions = (value.strip() for name, value in scope["headers"] if name == _TOKEN)
    return (*bearers, *sessions)


def _shown(value: bytes) -> str:
    return value[:100].decode("ascii", "replace")


def _is_large(marks: _Marks) -> bool:
    """Return whether a body may exceed the size that is always accepted."""
    if b"transfer-encoding" in marks:
        return True
    length = marks.get(b"content-length", b"0")
    return not length.isdigit() or int(length) > ALWAYS


def _body(status: int, text: str) -> bytes:
    return orjson.dumps({"error": text, "status": status, "detail": text})


_NOT_FOUND = orjson.dumps({"error": "Not Found", "status": 404, "detail": "Not Found"})


def _preflight(scope: Scope) -> tuple[Header, ...]:
    """Allow every method and header; `*` leaves out `Authorization`, which UIs send."""
    wanted = (value for name, value in scope["headers"] if name == _REQUEST_HEADERS)
    needs_login = any(b"authorization" in value.lower() for value in wanted)
    return (
        (b"access-control-allow-methods", b"*"),
        (b"access-control-allow-headers", b"*, authorization" if needs_login else b"*"),
    )


def _routed(scope: Scope, proxies: Proxies) -> Scope:
    """Copy the scope with the alias `/noetl/…` replaced, and the command that the login names."""
    inner: Scope = {**scope}
    # A call of our own has the client of the request that it is made for.
    if CLIENT not in scope and (client := proxies.client_of(scope)) is not None:
        inner[CLIENT] = client
    path = inner["path"] = _decoded_path(scope)
    if path.startswith("/noetl/"):
        inner["path"] = f"/api/{path[7:]}"
        inner[_ALIAS] = True
    if (named := _named_in_login(scope)) is not None:
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
    """Return the decoded path, with encoded slashes marked, not decoded."""
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
