"""The edge as an ASGI application."""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import orjson
from litestar import Litestar, Response, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from noetl_common.bus.broker import connect
from noetl_common.bus.rpc import RpcClient
from noetl_common.bus.topology import ensure_topology, run_topology_watch
from noetl_common.errors import NoetlError, Transient
from noetl_common.ids import lease_machine_id
from noetl_common.logging import get_logger
from noetl_common.service import supervise
from noetl_contract.streams import STREAMS

from noetl_api_gateway.bodies import ClientGoneError
from noetl_api_gateway.edge import Edge, EdgeService
from noetl_api_gateway.handlers import (
    callbacks,
    catalog,
    commands,
    credentials,
    dashboard,
    database,
    ehdb,
    ends,
    events,
    execute,
    execute_batch,
    executions,
    health,
    internal,
    keychain,
    listeners,
    lookups,
    playbooks,
    projections,
    replay,
    reruns,
    result_lists,
    results,
    runtime,
    session,
    subscriptions,
    system,
    wallet,
    workers,
)
from noetl_api_gateway.handlers import vars as variables
from noetl_api_gateway.handlers.gate import INTERNAL_TOKEN_STATE
from noetl_api_gateway.health import HealthProbe
from noetl_api_gateway.large_writes import LargeWrites
from noetl_api_gateway.openapi_page import ReadingPage
from noetl_api_gateway.presence import Presence, run_presence
from noetl_api_gateway.refusals import RETRY_AFTER, Refusal, body_too_large
from noetl_api_gateway.request import AnyRequest
from noetl_api_gateway.services import Services
from noetl_api_gateway.settings import Settings
from noetl_api_gateway.shell import Shell
from noetl_api_gateway.writes import Backlog, IngressWriter, run_backlog_watch

if TYPE_CHECKING:
    from noetl_api_gateway.shell import Application

__all__ = ["create_app"]

_log = get_logger()

ROUTES: list[Any] = [
    health.live,
    health.health,
    health.pool_status,
    catalog.register,
    catalog.list_entries,
    catalog.resource,
    catalog.ui_schema,
    catalog.ui_schema_below_playbooks,
    playbooks.list_agents,
    playbooks.read_content,
    playbooks.put_content,
    playbooks.put_playbook,
    playbooks.delete_playbook,
    playbooks.validate_playbook,
    playbooks.delete_versions,
    playbooks.restore_versions,
    execute.execute,
    execute_batch.execute_batch,
    reruns.rerun,
    events.post_event,
    events.post_events,
    commands.get_command,
    commands.claim,
    ehdb.ehdb_executions,
    ehdb.ehdb_execution,
    ehdb.ehdb_events,
    executions.list_executions,
    executions.execution_detail,
    executions.execution_status,
    executions.execution_events,
    executions.execution_events_stream,
    ends.cancel,
    ends.finalize,
    ends.cleanup,
    executions.cancellation_check,
    lookups.event_result,
    lookups.batch_status,
    lookups.batch_status_stream,
    replay.replay_state,
    subscriptions.list_subscriptions,
    subscriptions.register_subscription,
    subscriptions.get_subscription,
    subscriptions.change_subscription,
    internal.claim_rows,
    internal.mark_published,
    internal.mark_failed,
    internal.count_pending,
    internal.project_events,
    internal.purge,
    callbacks.container_callback,
    listeners.ingress_config,
    projections.advance_projection,
    projections.rebuild_projection,
    results.resolve_result,
    results.get_result,
    result_lists.list_results,
    result_lists.delete_step_results,
    result_lists.result_stats,
    workers.register_worker,
    workers.heartbeat_worker,
    workers.deregister_worker,
    workers.post_deregister_worker,
    workers.list_workers,
    credentials.create_credential,
    credentials.list_credentials,
    credentials.read_credential,
    credentials.read_sealed_credential,
    credentials.delete_credential,
    credentials.gcp_token,
    keychain.list_keychain_entries,
    keychain.no_keychain_post,
    keychain.read_keychain_entry,
    keychain.store_keychain_entry,
    keychain.delete_keychain_entry,
    wallet.resolve_across_regions,
    wallet.rotate_keys,
    wallet.key_status,
    wallet.secret_audit,
    variables.list_vars,
    variables.get_var,
    variables.set_vars,
    variables.delete_var,
    variables.delete_vars,
    runtime.contract,
    runtime.shard_info,
    runtime.sharding_preview,
    system.status,
    system.threads,
    system.profiler_status,
    system.start_profiler,
    system.stop_profiler,
    dashboard.stats,
    dashboard.widgets,
    database.execute_sql,
    database.init_database,
    database.validate_database,
    session.validate_session,
]


def create_app(settings: Settings | None = None) -> Shell:
    """Build the edge; it connects when its lifespan begins."""
    settings = settings or Settings()
    service = EdgeService(settings)

    async def provide_service() -> EdgeService:
        return service

    async def provide_edge() -> Edge:
        return service.opened_edge()

    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        living = asyncio.create_task(_live(service), name=service.name)
        try:
            yield
        finally:
            service.drain()
            living.cancel()
            await asyncio.wait({living})

    app = Litestar(
        route_handlers=_routes(settings),
        dependencies={"edge": Provide(provide_edge), "service": Provide(provide_service)},
        exception_handlers=EXCEPTIONS,
        lifespan=[lifespan],
        state=State({INTERNAL_TOKEN_STATE: settings.internal_api_token}),
        openapi_config=OpenAPIConfig(
            title="NoETL",
            version="1",
            path="/schema",
            description="Control plane of NoETL. `/noetl/…` answers like `/api/…`, with ids as"
            " strings; every refusal has the keys `error`, `status` and `detail`.",
            use_handler_docstrings=True,
            render_plugins=[
                JsonRenderPlugin(path="/openapi.json"),
                ReadingPage(path=["/", "/swagger"]),
            ],
        ),
        request_max_body_size=settings.max_body_bytes,
        logging_config=None,
    )
    routed = cast("Application", app)  # the same protocol, spelt with closed types there
    return Shell(routed, origins=settings.origins(), service=service)


def _routes(settings: Settings) -> list[Any]:
    large = Router(
        "/",
        route_handlers=[results.put_result, result_lists.delete_results],
        request_max_body_size=settings.max_result_body_bytes,
    )
    batches = Router(
        "/",
        route_handlers=[playbooks.register_batch],
        request_max_body_size=settings.max_batch_body_bytes,
    )
    routes = [*ROUTES, large, batches]
    return routes if settings.disable_metrics else [*routes, health.metrics]


async def _live(service: EdgeService) -> None:
    """Keep the parts open until cancelled."""
    try:
        async with supervise(service, lambda _: open_parts(service)):
            _log.info("service_started")
            await asyncio.Event().wait()
    except Exception as error:  # noqa: BLE001 - task supervisor: any error ends the process
        _log.error("service_failed", exc_info=error)
        service.fail(error)


@asynccontextmanager
async def open_parts(service: EdgeService) -> AsyncIterator[None]:
    """Open the parts in order of dependency, and close them in reverse."""
    settings = service.edge_settings
    async with connect(settings, name=service.name) as bus:
        await ensure_topology(bus, STREAMS, ())
        rpc = RpcClient(bus)
        holder = f"{service.name}/{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
        async with lease_machine_id(rpc, holder) as ids:
            services = Services(
                bus,
                shard_count=settings.shard_count,
                try_seconds=settings.request_try_seconds,
                patience_seconds=settings.request_patience_seconds,
                long_try_seconds=settings.result_patience_seconds,
                secret_try_seconds=settings.secret_try_seconds,
                secret_patience_seconds=settings.secret_patience_seconds,
            )
            backlog = Backlog(limit=settings.max_ingress_backlog)
            writer = IngressWriter(
                bus,
                shard_count=settings.shard_count,
                max_waiting=settings.max_waiting_writes,
                check_seconds=settings.ingress_check_seconds,
                backlog=backlog,
                large=LargeWrites(bus, services, next_id=ids.next),
            )
            probe = HealthProbe(bus, services, patience_seconds=settings.health_patience_seconds)
            service.ready_when("nats", bus.is_ready)
            service.ready_when("ids", ids.is_ready)
            service.ready_when("services", probe.is_ok)
            service.spawn("topology", run_topology_watch(bus, STREAMS, ()))
            watch = settings.backlog_watch_seconds
            service.spawn("backlog", run_backlog_watch(bus, backlog, interval_seconds=watch))
            presence = Presence(
                services,
                name=f"{socket.gethostname()}:{settings.http_port}",
                instance=secrets.token_hex(8),
                interval_seconds=settings.edge_heartbeat_seconds,
            )
            service.spawn("presence", run_presence(presence))
            service.edge = Edge(settings, bus, ids, writer, services, probe, service.closing)
            try:
                yield
            finally:
                service.edge = None
                await presence.leave()


# -- errors to bodies: the one table (http-a 1.2) --------------------------------------------


def error_answer(
    status: int, text: str, *, detail: Any = None, headers: Mapping[str, str] | None = None
) -> Response[bytes]:
    """Build the body that every refused request gets."""
    body = {"error": text, "status": status, "detail": text if detail is None else detail}
    return Response(
        orjson.dumps(body, default=str),
        status_code=status,
        media_type="application/json",
        headers=dict(headers or {}),
    )


def on_refusal(_request: AnyRequest, error: Refusal) -> Response[bytes]:
    """Answer what the edge refused, or what a service refused behind it.

    UIs show `detail`, so it repeats the text; only workers read more of it, at a claim that
    comes too late (worker 7.2).
    """
    detail = error.detail if error.status == 409 else None
    return error_answer(error.status, error.text, detail=detail, headers=error.headers)


def on_our_error(_request: AnyRequest, error: NoetlError) -> Response[bytes]:
    """Answer one of our errors with its own status; what may pass by asks to come again."""
    is_transient = isinstance(error, Transient)
    headers = {RETRY_AFTER: "1"} if is_transient else {}
    if error.http_status >= 500 and not is_transient:
        _log.error("request_failed", code=error.code, error=error.message)
    return error_answer(error.http_status, error.message, headers=headers)


def on_http_error(_request: AnyRequest, error: HTTPException) -> Response[bytes]:
    """Answer what the framework refused: unknown path, wrong method, oversized body."""
    if error.status_code == 413:
        return on_refusal(_request, body_too_large())
    if error.status_code == 405:
        return error_answer(405, "Method Not Allowed", headers=_allow(error.headers))
    text = "Not Found" if error.status_code == 404 else error.detail
    return error_answer(error.status_code, text)


def on_client_gone(_request: AnyRequest, _error: ClientGoneError) -> Response[bytes]:
    """Answer nobody: the client closed the connection before its request was whole."""
    return error_answer(400, "The request was not sent completely")


def on_anything_else(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Answer a defect of ours; what it was is in the log only."""
    _log.error("request_failed", path=request.scope.get("path_template"), exc_info=error)
    return error_answer(500, "Internal server error")


EXCEPTIONS: Any = {
    Refusal: on_refusal,
    NoetlError: on_our_error,
    ClientGoneError: on_client_gone,
    HTTPException: on_http_error,
    Exception: on_anything_else,
}


def _allow(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Name the allowed methods as the contract does: no `OPTIONS`, GET implies HEAD."""
    listed = (headers or {}).get("allow", "")
    methods = [word.strip() for word in listed.split(",") if word.strip() not in {"", "OPTIONS"}]
    if "GET" in methods:
        methods.insert(methods.index("GET") + 1, "HEAD")
    return {"allow": ",".join(methods)}
