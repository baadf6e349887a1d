"""The edge as an ASGI application."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from functools import lru_cache, partial
from pathlib import Path
from urllib.parse import urlsplit

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.handlers import BaseRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.routes import HTTPRoute
from litestar.types import ExceptionHandlersMap, Scope
from noetl_bus.broker import Bus, connect
from noetl_bus.rpc import RpcClient
from noetl_bus.topology import ensure_topology, run_topology_watch
from noetl_common.logging import get_logger
from noetl_contract.access.rights import Right
from noetl_contract.streams import STREAMS
from noetl_contract.subjects import ACCESS_HINT
from noetl_service.machine_ids import lease_machine_id
from noetl_service.service import supervise

from noetl_api_gateway.access.deliveries import DeliveryCheck
from noetl_api_gateway.access.gatekeeper import GATEKEEPER_STATE, Gatekeeper
from noetl_api_gateway.access_settings import is_auth_on
from noetl_api_gateway.direct_routes import DirectRoutes, Provided
from noetl_api_gateway.fronts import Front, fronts_of
from noetl_api_gateway.gateway import Gateway, GatewayProcess
from noetl_api_gateway.http.errors import EXCEPTIONS
from noetl_api_gateway.http.openapi_page import ReadingPage
from noetl_api_gateway.http.rate_guard import LOGINS_STATE, RATES_STATE, Connection, RateGuard
from noetl_api_gateway.http.shell import Application, Door, Shell
from noetl_api_gateway.http.token_guard import COMMAND_KEY_STATE, INTERNAL_TOKEN_STATE
from noetl_api_gateway.intake.bodies import BodyBudget
from noetl_api_gateway.intake.names import Origins, ServerNames
from noetl_api_gateway.intake.peers import Proxies
from noetl_api_gateway.intake.streams import StreamPlaces
from noetl_api_gateway.metrics import AUTH_OFF, DEAD_LETTERS, note_routes
from noetl_api_gateway.rates import FailedLogins
from noetl_api_gateway.routes.console.answers import console_exceptions
from noetl_api_gateway.routes.own_calls import APPLICATION_STATE
from noetl_api_gateway.routes.registry import BUSY, RouteSettings, route_handlers
from noetl_api_gateway.routes.web_ui.files import read_ui
from noetl_api_gateway.routes.web_ui.pages import UiPages, ui_values
from noetl_api_gateway.settings import ConsoleMode, Settings
from noetl_api_gateway.upstream.demand import MEASURED, measure_demand
from noetl_api_gateway.upstream.health import HealthProbe
from noetl_api_gateway.upstream.ingress_stream import (
    Backlog,
    measure_dead_letters,
    run_backlog_watch,
)
from noetl_api_gateway.upstream.large_writes import LargeWrites
from noetl_api_gateway.upstream.listeners import Listeners
from noetl_api_gateway.upstream.output_watches import OutputWatches
from noetl_api_gateway.upstream.registration import Registration, run_registration
from noetl_api_gateway.upstream.services import Services
from noetl_api_gateway.upstream.writes import IngressWriter

_log = get_logger()

_PROCESS = "process"
_GUARD = "guard"
"""Keys of the application's state for its process and its guard; None without a guard."""


def create_app(settings: Settings | None = None) -> Shell:
    """Build the edge; it connects when its lifespan begins."""
    settings = settings or Settings()
    service = GatewayProcess(settings)
    is_login_needed = is_auth_on(settings, settings.http_host)
    bounds_rates = settings.bounds_rates(is_login_needed=is_login_needed)
    rates = RateGuard(settings.rates()) if bounds_rates else None
    gatekeeper = _gatekeeper(settings, service, rates, is_login_needed=is_login_needed)
    # The gatekeeper asks for the rates itself: they are those of callers.
    guard = gatekeeper or rates
    door = _door(settings, is_login_needed=is_login_needed)
    # A copy shares the table of routes; the state is this edge's own.
    app = copy(_routed(RouteSettings.of(settings), is_guarded=guard is not None))
    app.state = State(
        {
            _PROCESS: service,
            _GUARD: guard,
            INTERNAL_TOKEN_STATE: settings.internal_api_token,
            COMMAND_KEY_STATE: settings.command_key_bytes(),
            GATEKEEPER_STATE: gatekeeper,
            RATES_STATE: rates,
            LOGINS_STATE: door.logins,
        }
    )
    note_routes(
        (method, route.path_format)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods - {"OPTIONS"}
    )
    provide: Mapping[str, Provided] = {
        "gateway": lambda _scope: service.opened_gateway(),
        "service": lambda _scope: service,
    }
    direct = DirectRoutes(app, BUSY if settings.direct_routes else (), provide)
    fronts = fronts_of(direct, app, service)
    routes = fronts[-1] if fronts else direct
    shell = Shell(
        _with_ui(routes, app, settings, is_login_needed=is_login_needed),
        door=door,
        service=service,
        lifespan=partial(_living, service, fronts),
    )
    app.state[APPLICATION_STATE] = shell
    return shell


# Most of the time of a start; once is enough for edges that follow each other in one process.
@lru_cache(maxsize=4)
def _routed(settings: RouteSettings, *, is_guarded: bool) -> Litestar:
    """Build the table of routes, with nothing of a single edge in it."""
    return Litestar(
        route_handlers=route_handlers(settings),
        guards=[_guard] if is_guarded else [],
        dependencies={"gateway": Provide(_gateway), "service": Provide(_process)},
        exception_handlers=_exceptions(settings.console),
        openapi_config=_document(),
        request_max_body_size=settings.max_body_bytes,
        logging_config=None,
    )


def _exceptions(console: ConsoleMode) -> ExceptionHandlersMap:
    """Return the handlers of errors; below the console they answer with pages."""
    if console == "off":
        return EXCEPTIONS
    return console_exceptions(EXCEPTIONS, may_change=console == "full")


async def _guard(connection: Connection, handler: BaseRouteHandler) -> None:
    await connection.app.state[_GUARD].guard(connection, handler)


async def _process(scope: Scope) -> GatewayProcess:
    process: GatewayProcess = scope["litestar_app"].state[_PROCESS]
    return process


async def _gateway(scope: Scope) -> Gateway:
    process: GatewayProcess = scope["litestar_app"].state[_PROCESS]
    return process.opened_gateway()


@asynccontextmanager
async def _living(service: GatewayProcess, fronts: Sequence[Front]) -> AsyncIterator[None]:
    living = asyncio.create_task(_live(service), name=service.name)
    try:
        yield
    finally:
        service.drain()
        living.cancel()
        await asyncio.wait({living})
        for front in fronts:
            await front.aclose()


def _document() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="NoETL",
        version="1",
        openapi_router=Router(
            "/schema",
            route_handlers=[],
            opt={"needs": Right.SCHEMA_READ},
            include_in_schema=False,
        ),
        description="Control plane of NoETL. `/noetl/…` answers like `/api/…`, with ids as"
        " strings; every refusal has the keys `error`, `status` and `detail`.",
        use_handler_docstrings=True,
        render_plugins=[
            JsonRenderPlugin(path="/openapi.json"),
            ReadingPage(path=["/", "/swagger"]),
        ],
    )


def _with_ui(
    routes: Application, table: Litestar, settings: Settings, *, is_login_needed: bool
) -> Application:
    """Return the routes, with the pages of a built UI before them if there is one."""
    if not settings.ui_dir:
        return routes
    ours = {route.path_format.split("/")[1] for route in table.routes}
    return UiPages(
        routes,
        read_ui(Path(settings.ui_dir)),
        values=ui_values(settings, is_login_needed=is_login_needed),
        policy=settings.ui_csp,
        reserved=ours | {"c", "noetl"},
    )


def _door(settings: Settings, *, is_login_needed: bool) -> Door:
    own = urlsplit(settings.public_server_url).hostname
    given = (*settings.host_names(), own) if own else settings.host_names()
    names = ServerNames(given, bound_to=settings.http_host)
    return Door(
        names,
        Origins(settings.origins(), names, is_open=not is_login_needed),
        BodyBudget(settings.max_buffered_body_bytes),
        _failed_logins(settings, is_login_needed=is_login_needed),
        Proxies(settings.proxy_networks()),
    )


def _failed_logins(settings: Settings, *, is_login_needed: bool) -> FailedLogins | None:
    rate = settings.rates().get("failed_logins")
    if rate is None or not settings.bounds_rates(is_login_needed=is_login_needed):
        return None
    return FailedLogins(rate)


def _gatekeeper(
    settings: Settings, service: GatewayProcess, rates: RateGuard | None, *, is_login_needed: bool
) -> Gatekeeper | None:
    """Return the gatekeeper; None, with a warning in the log, where no login is needed."""
    AUTH_OFF.set(not is_login_needed)
    if not is_login_needed:
        reason = settings.auth_off_reason or f"{settings.http_host} is a loopback address"
        _log.warning("auth_off", address=settings.http_host, reason=reason)
        return None
    gatekeeper = Gatekeeper(
        settings,
        lambda: service.opened_gateway().services,
        lambda: service.opened_gateway().bus,
        rates,
    )
    service.gatekeeper = gatekeeper
    return gatekeeper


async def _live(service: GatewayProcess) -> None:
    """Keep the parts open until cancelled."""
    try:
        async with supervise(service, lambda _: open_parts(service)):
            _log.info("service_started")
            await asyncio.Event().wait()
    except Exception as error:  # noqa: BLE001 - task supervisor: any error ends the process
        _log.error("service_failed", exc_info=error)
        service.fail(error)


@asynccontextmanager
async def open_parts(service: GatewayProcess) -> AsyncIterator[None]:
    """Open the parts in order of dependency, and close them in reverse."""
    settings = service.gateway_settings
    async with connect(settings, name=service.name) as bus:
        await ensure_topology(bus, STREAMS, ())
        async with lease_machine_id(RpcClient(bus), service.name) as ids:
            services = Services(bus, settings)
            backlog = Backlog(limit=settings.max_ingress_backlog)
            writer = IngressWriter(
                bus,
                shard_count=settings.shard_count,
                max_waiting=settings.max_waiting_writes,
                check_seconds=settings.ingress_check_seconds,
                backlog=backlog,
                large=LargeWrites(bus, services, next_id=ids.next),
                is_direct=settings.writes_are_direct,
            )
            probe = HealthProbe(bus, services, timeout_seconds=settings.health_patience_seconds)
            service.ready_when("nats", bus.is_ready)
            service.ready_when("ids", ids.is_ready)
            service.ready_when("services", probe.is_ok)
            service.measure_when_read("demand", lambda: measure_demand(services), *MEASURED)
            letters = partial(measure_dead_letters, bus)
            service.measure_when_read("dead_letters", letters, DEAD_LETTERS)
            service.spawn("topology", run_topology_watch(bus, STREAMS, ()))
            pause = settings.backlog_watch_seconds
            service.spawn("backlog", run_backlog_watch(bus, backlog, interval_seconds=pause))
            registration = Registration(
                services,
                name=f"{socket.gethostname()}:{settings.http_port}",
                instance=secrets.token_hex(8),
                interval_seconds=settings.edge_heartbeat_seconds,
            )
            service.spawn("registration", run_registration(registration))
            watches = OutputWatches(bus)
            service.spawn("output watches", watches.run())
            service.gateway = Gateway(
                settings,
                bus,
                ids,
                writer,
                services,
                probe,
                service.closing,
                _stream_places(settings),
                Listeners(services, ids, seconds=settings.listener_cache_seconds),
                DeliveryCheck(settings.ingress_jwks_url),
                watches,
                service.gatekeeper,
            )
            try:
                async with _keeping_gate(service, bus):
                    yield
            finally:
                service.gateway = None
                await registration.leave()


def _stream_places(settings: Settings) -> StreamPlaces:
    return StreamPlaces(
        settings.max_event_streams,
        per_address=settings.max_event_streams_per_address,
        per_principal=settings.max_event_streams_per_principal,
    )


@asynccontextmanager
async def _keeping_gate(service: GatewayProcess, bus: Bus) -> AsyncIterator[None]:
    """Hear of revoked keys and send the access audit, until the block ends."""
    gatekeeper = service.gatekeeper
    if gatekeeper is None:
        yield
        return

    async def forget() -> None:
        gatekeeper.identities.forget()

    # Hints that were sent while there was no connection are lost.
    stop_forgetting = bus.on_reconnect(forget)
    hints = await bus.subscribe(ACCESS_HINT, lambda _message: gatekeeper.identities.forget())
    writing = asyncio.create_task(gatekeeper.audit.run(), name="access audit")
    try:
        yield
    finally:
        writing.cancel()
        await asyncio.wait({writing})
        await hints.unsubscribe()
        stop_forgetting()
