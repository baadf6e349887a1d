"""All routes of the process."""

from dataclasses import dataclass
from typing import Self

from litestar import Router
from litestar.types import ControllerRouterHandler

from noetl_api_gateway.routes.catalog import entries, listeners, playbooks, schedules, subscriptions
from noetl_api_gateway.routes.console.pages import console_routes
from noetl_api_gateway.routes.executions import (
    ehdb,
    reads,
    replay,
    result_lists,
    results,
    start,
    start_batch,
    termination,
    variables,
)
from noetl_api_gateway.routes.executions.repair import failures, rerun, restart, why
from noetl_api_gateway.routes.ingress import deliveries
from noetl_api_gateway.routes.internal import (
    callbacks,
    demand,
    outbox,
    page_callbacks,
    projections,
)
from noetl_api_gateway.routes.mcp import endpoint as mcp_endpoint
from noetl_api_gateway.routes.secrets import credentials, keychain, sessions, wallet
from noetl_api_gateway.routes.system import (
    dashboard,
    database,
    health,
    keys,
    process,
    runtime,
    state,
)
from noetl_api_gateway.routes.waits import links, signals
from noetl_api_gateway.routes.web_ui import analysis, state_stream, suites, unserved
from noetl_api_gateway.routes.web_ui import sessions as page_sessions
from noetl_api_gateway.routes.web_ui.graphql import endpoint as graphql_endpoint
from noetl_api_gateway.routes.workers import (
    commands,
    event_reads,
    events,
    libraries,
    output,
    pauses,
    plugins,
    pools,
    reports,
)
from noetl_api_gateway.settings import ConsoleMode, Settings

_MODULES = (
    entries,
    listeners,
    playbooks,
    schedules,
    subscriptions,
    ehdb,
    termination,
    reads,
    replay,
    rerun,
    restart,
    failures,
    why,
    result_lists,
    results,
    libraries,
    start,
    start_batch,
    variables,
    callbacks,
    demand,
    outbox,
    page_callbacks,
    projections,
    credentials,
    keychain,
    sessions,
    wallet,
    dashboard,
    database,
    health,
    keys,
    process,
    runtime,
    state,
    links,
    signals,
    commands,
    event_reads,
    events,
    output,
    pauses,
    plugins,
    pools,
    reports,
    analysis,
    graphql_endpoint,
    page_sessions,
    state_stream,
    suites,
    unserved,
)


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
    large = Router(
        "/",
        route_handlers=[*results.LARGE_ROUTES, *result_lists.LARGE_ROUTES],
        request_max_body_size=settings.max_result_body_bytes,
    )
    batches = Router(
        "/",
        route_handlers=playbooks.BATCH_ROUTES,
        request_max_body_size=settings.max_batch_body_bytes,
    )
    listened = Router(
        "/",
        route_handlers=deliveries.DELIVERY_ROUTES,
        request_max_body_size=settings.max_delivery_body_bytes,
    )
    routes = [handler for module in _MODULES for handler in module.ROUTES]
    metrics = [] if settings.disable_metrics else [health.metrics]
    tools = mcp_endpoint.ROUTES if settings.mcp else []
    pages = console_routes(settings.console)
    return [*routes, large, batches, listened, *metrics, *tools, *pages]
