"""Bypass of the framework's router for busy routes, with the same handlers, guards and errors.

What workers ask for every step, and the reads that clients repeat, would otherwise spend more time
in the framework than in their handlers. A request that is not plainly one of these takes the way
of all others, and whichever way it takes it is answered alike.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from litestar import Litestar, Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from noetl_api_gateway.http.errors import refused_answer

if TYPE_CHECKING:
    from noetl_api_gateway.http.shell import Application, Receive, Scope, Send

type Answering = Callable[..., Awaitable[Response[bytes]]]
type Provided = Callable[[Mapping[str, Any]], Any]

_JSON = (b"content-type", b"application/json")
_HOST = re.compile(rb"[A-Za-z0-9._\-\[\]:]+")


@dataclass(frozen=True, slots=True)
class DirectRoute:
    """One busy route.

    Attributes:
        template: its path as the table of routes has it, ``/api/executions/{execution_id}``.
        handler: the handler there.
        answer: its function.
        wants: the parts of the process that the function takes.
        parameter: the parameter of the path, of a route that has one.
        is_asked_for: whether the function takes that as well.
    """

    template: str
    handler: HTTPRouteHandler
    answer: Answering
    wants: tuple[str, ...]
    parameter: str | None
    is_asked_for: bool


class DirectRoutes:
    """The application, with a bypass to some of its routes.

    Args:
        app: the application.
        routes: method and path of each busy route. A parameter of a path must be a number here;
            other values take the long way.
        provide: gives a part of the process by its name, to handlers that take it.
    """

    def __init__(
        self, app: Litestar, routes: Iterable[tuple[str, str]], provide: Mapping[str, Provided]
    ) -> None:
        self._app = cast("Application", app)
        self.litestar = app
        self._provide = provide
        table: dict[tuple[str, str], HTTPRouteHandler] = {
            (method, route.path_format): route.route_handler_map[method][0]
            for route in app.routes
            if isinstance(route, HTTPRoute)
            for method in route.route_handler_map
        }
        self._fixed: dict[tuple[str, str], DirectRoute] = {}
        self._open: dict[tuple[str, str, str], DirectRoute] = {}
        for method, template in routes:
            route = _direct(template, table[method, template], provide)
            before, _, rest = template.partition("{")
            if route.parameter is None:
                self._fixed[method, template] = route
            else:
                self._open[method, before, rest.partition("}")[2]] = route

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer a request."""
        route, value = self._find(scope["method"], scope["path"])
        if route is None or not _is_plain(scope):
            await self._app(scope, receive, send)
            return
        scope["app"] = scope["litestar_app"] = self.litestar
        scope["state"] = {}
        scope["route_handler"] = route.handler
        scope["path_template"] = route.template
        scope["path_params"] = {} if route.parameter is None else {route.parameter: value}
        request: Request[Any, Any, Any] = Request(
            scope,  # type: ignore[arg-type]  # the same, spelt with open types here
            receive,  # type: ignore[arg-type]
            send,  # type: ignore[arg-type]
        )
        try:
            for guard in route.handler.resolve_guards():
                await cast("Awaitable[None]", guard(request, route.handler))
            parts = {name: self._provide[name](scope) for name in route.wants}
            if route.is_asked_for:
                parts[cast("str", route.parameter)] = value
            answer = await route.answer(request=request, **parts)
        except Exception as error:  # noqa: BLE001 -- as the framework does: each has its answer
            answer = refused_answer(request, error)
        await _send(send, answer)

    def _find(self, method: str, path: str) -> tuple[DirectRoute | None, str]:
        route = self._fixed.get((method, path))
        if route is not None:
            return route, ""
        for (wanted, before, after), found in self._open.items():
            if method == wanted and path.startswith(before) and path.endswith(after):
                value = path[len(before) : len(path) - len(after)]
                if value.isascii() and value.isdigit():
                    return found, value
        return None, ""


def _direct(
    template: str, handler: HTTPRouteHandler, provide: Mapping[str, Provided]
) -> DirectRoute:
    function = cast("Answering", handler.fn)
    names = inspect.signature(function).parameters
    parameter = template.partition("{")[2].partition("}")[0] or None
    return DirectRoute(
        template,
        handler,
        function,
        tuple(name for name in names if name in provide),
        parameter,
        parameter in names,
    )


def _is_plain(scope: "Scope") -> bool:
    """Return whether the framework would route the request by its path alone."""
    if scope.get("root_path"):
        return False
    return all(_is_host(value) for name, value in scope["headers"] if name == b"host")


@lru_cache(maxsize=256)
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


async def _send(send: "Send", answer: Response[bytes]) -> None:
    """Send an answer of JSON."""
    body = answer.content
    headers = [_JSON, (b"content-length", b"%d" % len(body))]
    headers += [(name.encode(), value.encode()) for name, value in answer.headers.items()]
    start = {"type": "http.response.start", "status": answer.status_code, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body, "more_body": False})
