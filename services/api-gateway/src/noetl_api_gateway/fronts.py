"""Fronts: ASGI applications of installed packages, placed before the routes."""

from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint
from typing import Protocol

from litestar import Litestar
from noetl_common.logging import get_logger
from noetl_common.process.extensions import extensions

from noetl_api_gateway.gateway import GatewayProcess
from noetl_api_gateway.http.shell import Application, Receive, Scope, Send
from noetl_api_gateway.settings import FRONTS

_log = get_logger()


class Front(Protocol):
    """Answers requests, or passes them on to the application behind it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

    async def aclose(self) -> None:
        """Close its resources, when the edge has ended."""


type FrontFactory = Callable[[Application, Litestar, GatewayProcess], Front | None]
"""Makes a front from the application behind it, the table of routes and the process; None where
its settings want none."""


def fronts_of(
    routes: Application,
    table: Litestar,
    service: GatewayProcess,
    *,
    found: Iterable[EntryPoint] | None = None,
) -> list[Front]:
    """Return the fronts of the installed packages, the outermost last.

    Raises:
        BadExtension: two have the same name, or one can't be loaded.
        ValueError: a setting of one has no sense.
    """
    fronts: list[Front] = []
    for extension in extensions(FRONTS, "front of the edge", found=found):
        make: FrontFactory = extension.load()
        front = make(fronts[-1] if fronts else routes, table, service)
        if front is not None:
            # It sees every request before its login is looked at.
            _log.info("front_put", front=extension.name, package=extension.package)
            fronts.append(front)
    return fronts
