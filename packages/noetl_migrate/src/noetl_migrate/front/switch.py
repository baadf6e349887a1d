"""The choice of the server that answers a request: by its execution, else by its route.

It stands before the routes only where an existing server is named; otherwise nothing of it runs.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, cast
from urllib.parse import parse_qs

import orjson
from litestar import Litestar, Request, get
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from noetl_api_gateway.http.errors import refused_answer
from noetl_api_gateway.http.refusals import Refusal, body_too_large
from noetl_api_gateway.http.shell import Application, Message, Receive, Scope, Send, call_of
from noetl_contract.access.principal import Principal
from noetl_contract.access.rights import Right
from noetl_contract.http.scalars import parse_i64
from noetl_contract.json import Json

from noetl_migrate.front.homes import Homes
from noetl_migrate.front.proxy import HOP, REQUESTS, LegacyServer
from noetl_migrate.front.settings import RoutePattern

_PARENT = "parent_execution_id"
_NAMED_IN_BODY: Mapping[tuple[str, str], str] = {
    ("POST", "/api/events"): "execution_id",
    ("POST", "/api/events/batch"): "execution_id",
    ("POST", "/api/execute"): _PARENT,
}
_COMMANDS = "/api/commands/"
_OWN = "/api/health"
"""Route about this server itself, which is never passed on."""


@get("/legacy", opt={"needs": Right.KEYS_MANAGE}, sync_to_thread=False)
def _unknown_route() -> None:
    """Stand for a route that only the existing server has: it is for administrators."""


class Switch:
    """Sends a request to the existing server, or on to the routes here.

    Args:
        inner: the routes here.
        litestar: their table.
        homes: knows what began here.
        legacy: the existing server.
        patterns: routes that it answers.
        most_bytes: of a body that is looked into for the execution that it names.
    """

    def __init__(
        self,
        inner: Application,
        litestar: Litestar,
        homes: Homes,
        legacy: LegacyServer,
        *,
        patterns: Sequence[RoutePattern],
        most_bytes: int,
    ) -> None:
        self._inner = inner
        self._litestar = litestar
        self._homes = homes
        self._legacy = legacy
        self._patterns = patterns
        self._most_bytes = most_bytes

    async def aclose(self) -> None:
        """Close the connections to the existing server."""
        await self._legacy.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        # Commands of ours name themselves; what an edge has passed on goes no further.
        path = scope["path"]
        is_open = path.startswith("/api/") and path != _OWN and call_of(scope) is None
        if not is_open or any(name == HOP for name, _ in scope["headers"]):
            await self._inner(scope, receive, send)
            return
        route = self._route(scope)
        peeking = _Peeking(receive, self._most_bytes)
        try:
            why = await self._why(scope, route, peeking)
            if why is not None:
                await self._admit(scope, route, why)
                await self._legacy.pass_on(scope, peeking.receive, send, why=why)
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 -- as the framework does: each has its answer
            request = _request(scope)
            answer = refused_answer(request, error).to_asgi_response(None, request)
            await cast("Application", answer)(scope, receive, send)
            return
        if why is None:
            await self._inner(scope, peeking.receive, send)

    async def _why(self, scope: Scope, route: "_Route", peeking: "_Peeking") -> str | None:
        """Return why the existing server answers, None where it doesn't.

        Raises:
            Refusal: it can't be found out now.
        """
        field = _NAMED_IN_BODY.get((scope["method"], scope["path"]))
        number = _named(scope, route) if field is None else await peeking.number(field)
        by_route = "route" if self._is_theirs(scope) else None
        if number is not None:
            if await self._homes.has_execution(number):
                return None
            # A parent that nobody knows says nothing.
            if field == _PARENT and not await self._legacy.knows_execution(number):
                return by_route
            return "execution"
        event_id = _event_id(scope, route)
        if event_id is not None:
            return None if await self._homes.has_command(event_id) else "command"
        return by_route

    def _is_theirs(self, scope: Scope) -> bool:
        method, path = scope["method"], scope["path"]
        return any(pattern.matches(method, path) for pattern in self._patterns)

    def _route(self, scope: Scope) -> "_Route":
        try:
            _, handler, _, parameters, template = self._litestar.asgi_router.handle_routing(
                path=scope["path"], method=scope["method"]
            )
        except HTTPException:
            return _Route(_unknown_route, {}, "legacy")
        return _Route(cast("BaseRouteHandler", handler), parameters, template)

    async def _admit(self, scope: Scope, route: "_Route", why: str) -> None:
        """Ask for the login and the right that the route needs here.

        Raises:
            Refusal: it is missing. The existing server knows nothing of namespaces, so only
                callers that reach all of them get there.
        """
        scope["app"] = scope["litestar_app"] = self._litestar
        scope["state"] = {}
        scope["route_handler"] = route.handler
        scope["path_template"] = route.template
        scope["path_params"] = route.parameters
        request = _request(scope)
        try:
            for guard in route.guards(self._litestar):
                await cast("Awaitable[None]", guard(request, route.handler))
            _refuse_bounded(scope.get("user"))
        except Exception:
            REQUESTS.labels(why, "refused").inc()
            raise


class _Route:
    """A route of this installation; for a route that it lacks an administrators' one."""

    __slots__ = ("handler", "parameters", "template")

    def __init__(
        self, handler: BaseRouteHandler, parameters: Mapping[str, Any], template: str
    ) -> None:
        self.handler = handler
        self.parameters = parameters
        self.template = template

    def guards(self, litestar: Litestar) -> Sequence[Any]:
        """Return the guards that check login and rights."""
        if self.handler is _unknown_route:
            return litestar.guards
        return self.handler.resolve_guards()


class _Peeking:
    """A request's body, which may be looked into before the application reads it."""

    def __init__(self, receive: Receive, most_bytes: int) -> None:
        self._receive = receive
        self._most_bytes = most_bytes
        self._seen: list[Message] = []

    async def receive(self) -> Message:
        """Return the next message, of those that were looked at first."""
        return self._seen.pop(0) if self._seen else await self._receive()

    async def number(self, field: str) -> int | None:
        """Return an id that the body names; None where it names none.

        Raises:
            Refusal: 413, the body is larger than either server takes it.
        """
        parts, size, more = [], 0, True
        while more:
            message = await self._receive()
            self._seen.append(message)
            if message["type"] != "http.request":
                return None
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            if size > self._most_bytes:
                raise body_too_large()
            more = message.get("more_body", False)
        try:
            body: Json = orjson.loads(b"".join(parts))
        except orjson.JSONDecodeError:
            return None
        return _number(body.get(field)) if isinstance(body, dict) else None


def _refuse_bounded(caller: object) -> None:
    if isinstance(caller, Principal) and not caller.is_whole:
        text = "What the legacy server answers is for callers that reach all namespaces"
        raise Refusal(403, text)


def _named(scope: Scope, route: _Route) -> int | None:
    """Return the execution that path or query name."""
    found = _number(route.parameters.get("execution_id"))
    if found is None and b"execution_id=" in scope["query_string"]:
        values = parse_qs(scope["query_string"].decode("latin-1")).get("execution_id", [])
        found = _number(values[-1]) if values else None
    return found


def _event_id(scope: Scope, route: _Route) -> int | None:
    if not scope["path"].startswith(_COMMANDS):
        return None
    return _number(route.parameters.get("event_id"))


def _number(value: Json) -> int | None:
    if isinstance(value, str):
        return parse_i64(value.strip())
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _request(scope: Scope) -> Request[Any, Any, Any]:
    return Request(scope)  # type: ignore[arg-type]  # the same, spelt with open types here
