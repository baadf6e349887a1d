"""All routes of the process."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pkgutil import walk_packages
from typing import Self

from litestar import Router
from litestar.types import ControllerRouterHandler

from noetl_api_gateway import routes
from noetl_api_gateway.routes.console.pages import console_routes
from noetl_api_gateway.routes.forwarding import Bodies, Topic
from noetl_api_gateway.routes.mcp import endpoint as mcp_endpoint
from noetl_api_gateway.routes.system import health
from noetl_api_gateway.settings import ConsoleMode, Settings

BUSY = (
    ("POST", "/api/events"),
    ("POST", "/api/events/batch"),
    ("POST", "/api/commands/{event_id}/reports"),
    ("POST", "/api/commands/{event_id}/claim"),
    ("POST", "/api/worker/pool/heartbeat"),
    ("POST", "/api/execute"),
    ("GET", "/api/executions/{execution_id}"),
    ("GET", "/api/executions/{execution_id}/status"),
)
"""Method and path of the routes that bypass the framework's router."""


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """The settings that the table of routes depends on; sizes of bodies in bytes."""

    max_body_bytes: int
    max_result_body_bytes: int
    max_batch_body_bytes: int
    max_delivery_body_bytes: int
    disable_metrics: bool
    console: ConsoleMode
    mcp: bool

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Take them from all settings."""
        return cls(
            settings.max_body_bytes,
            settings.max_result_body_bytes,
            settings.max_batch_body_bytes,
            settings.max_delivery_body_bytes,
            settings.disable_metrics,
            settings.console,
            settings.mcp_enabled,
        )


def route_handlers(settings: RouteSettings) -> list[ControllerRouterHandler]:
    """Return all routes, those with body limits of their own in routers."""
    topics = list(_topics())
    usual = [handler for topic in topics for handler in topic.routes.get("usual", ())]
    limits: dict[Bodies, int] = {
        "result": settings.max_result_body_bytes,
        "batch": settings.max_batch_body_bytes,
        "delivery": settings.max_delivery_body_bytes,
    }
    others = [
        Router(
            "/",
            route_handlers=[one for topic in topics for one in topic.routes.get(bodies, ())],
            request_max_body_size=limit,
        )
        for bodies, limit in limits.items()
    ]
    metrics = [] if settings.disable_metrics else [health.metrics]
    tools = mcp_endpoint.ROUTES if settings.mcp else []
    return [*usual, *others, *metrics, *tools, *console_routes(settings.console)]


def _topics() -> Iterator[Topic]:
    """Return the topics of all modules of routes."""
    for found in walk_packages(routes.__path__, f"{routes.__name__}."):
        topic = getattr(import_module(found.name), "TOPIC", None)
        if topic is not None:
            yield topic
