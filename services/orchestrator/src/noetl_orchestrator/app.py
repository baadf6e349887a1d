"""The orchestrator's process: connections, rooms, handlers and loops."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from noetl_bus.broker import Bus, connect
from noetl_bus.rpc import Handler, RpcClient, handle, serve_rpc
from noetl_bus.topology import ensure_topology
from noetl_common.ids import SnowflakeIds
from noetl_contract.http.system.state import QueueState
from noetl_contract.rpc.orchestrator import (
    CHILD,
    DEMAND,
    JOINS,
    PURGE,
    RUNS_OVER,
    LogPurged,
    LogPurgeRequest,
)
from noetl_contract.rpc.states import ORCHESTRATOR_STATE
from noetl_contract.streams import STREAMS, ingress_durable
from noetl_engine.commands.rendering import use_template_limits
from noetl_engine.playbook import Playbook, parse_playbook
from noetl_engine.playbook.defaults import with_defaults
from noetl_pg.identity import check_identity
from noetl_pg.pool import Pool, open_pool, wait_for_schema
from noetl_pg.rights import check_rights
from noetl_pg.watch import Reachability
from noetl_service.logins import database_login
from noetl_service.machine_ids import lease_machine_id
from noetl_service.service import Service, ServiceApp, create_service_app
from noetl_service.state import pool_states, queue_states, state_handler

from noetl_orchestrator.catalog.lookups import Catalog
from noetl_orchestrator.leases.children import completed_elsewhere
from noetl_orchestrator.log.append_handlers import LogHandlers
from noetl_orchestrator.log.connections import pool_status_handler
from noetl_orchestrator.loops import spawn_loops
from noetl_orchestrator.orchestrator import Orchestrator
from noetl_orchestrator.settings import Settings

NAME = "orchestrator"
_SCHEMA = "0027"


def create_app(settings: Settings | None = None) -> ServiceApp:
    """Return the ASGI app: health, metrics, and the orchestrator behind them."""
    chosen = settings or Settings()
    use_template_limits(max_source_chars=chosen.template_source_chars)

    @asynccontextmanager
    async def run(service: Service) -> AsyncIterator[None]:
        async with _running(service, chosen):
            yield

    return create_service_app(NAME, run, chosen)


@asynccontextmanager
async def _running(service: Service, settings: Settings) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(connect(settings, name=NAME))
        login, reach = database_login(settings, bus), Reachability()
        turn_pool = await stack.enter_async_context(
            open_pool(_turn_settings(settings), name=NAME, login=login, reach=reach)
        )
        background_pool = await stack.enter_async_context(
            open_pool(_background_settings(settings), name=f"{NAME}-background", login=login)
        )
        service.ready_when("bus", bus.is_ready)
        service.ready_when("nats_stores", bus.silence.is_over)
        await wait_for_schema(background_pool, _SCHEMA)
        await check_rights(background_pool, service=NAME, role=settings.postgres_user)
        await ensure_topology(bus, STREAMS, [ingress_durable(settings.shard_index)])
        rpc = RpcClient(bus)
        async with lease_machine_id(rpc, NAME) as ids:
            service.ready_when("ids", ids.is_ready)
            await check_identity(background_pool, settings, shard=settings.shard_index)
            async with Orchestrator(
                settings,
                bus=bus,
                turn_pool=turn_pool,
                background_pool=background_pool,
                ids=ids,
                catalog=Catalog(rpc),
                parse=_parser(settings),
                reach=reach,
            ) as orchestrator:
                service.ready_when("database", orchestrator.store.is_reachable)
                shard, count = settings.shard_index, settings.shard_count
                orchestrator.children.find_completed = completed_elsewhere(rpc, shard_count=count)
                async with (
                    orchestrator.running_turns(service),
                    serve_rpc(
                        bus,
                        [
                            *_handlers(settings, orchestrator, turn_pool=turn_pool, ids=ids),
                            _state_handler(service, orchestrator, bus=bus, shard=shard),
                        ],
                        queue=NAME,
                        shard=shard,
                    ),
                ):
                    spawn_loops(service, settings, orchestrator, bus=bus, rpc=rpc)
                    yield


def _parser(settings: Settings) -> Callable[[str], Playbook]:
    """Return the parser of playbooks, with the server's defaults for what they leave open."""
    kinds, defaults = settings.more_kinds(), settings.defaults()
    return lambda text: with_defaults(parse_playbook(text, more_kinds=kinds), defaults)


def _turn_settings(settings: Settings) -> Settings:
    """Return settings of the turns' pool: a connection for each turn and one to spare."""
    return settings.model_copy(
        update={
            "postgres_pool_min": settings.turns_in_flight,
            "postgres_pool_max": settings.turns_in_flight + 1,
        }
    )


def _background_settings(settings: Settings) -> Settings:
    """Return settings of the pool for everything but turns."""
    return settings.model_copy(
        update={"postgres_pool_min": 1, "postgres_pool_max": settings.background_pool_max}
    )


def _state_handler(
    service: Service, orchestrator: Orchestrator, *, bus: Bus, shard: int
) -> Handler:
    """Return the handler of the service's state: its consumers, those of pools, its workers."""

    async def queues() -> list[QueueState]:
        own = await queue_states(bus, [ingress_durable(shard)])
        # The pools are those of all shards.
        return own if shard else own + await pool_states(bus)

    return state_handler(
        service,
        ORCHESTRATOR_STATE,
        shard=shard,
        queues=queues,
        workers=orchestrator.demand.read_loads,
    )


def _handlers(
    settings: Settings, orchestrator: Orchestrator, *, turn_pool: Pool, ids: SnowflakeIds
) -> list[Handler]:
    """Return the handlers of all requests but claims."""

    async def on_purge(request: LogPurgeRequest) -> LogPurged:
        return await orchestrator.retention.purge(
            request, commands_at_once=settings.purge_commands_max
        )

    log_handlers = LogHandlers(
        orchestrator.appends,
        on_moved=orchestrator.replicas.forget_and_tell,
        new_id=ids.next,
        settings=settings,
    )
    return [
        *log_handlers.handlers(),
        handle(CHILD, orchestrator.children.on_child),
        handle(RUNS_OVER, orchestrator.runs.on_over),
        handle(DEMAND, orchestrator.demand.on_demand),
        handle(JOINS, orchestrator.joins.on_joins),
        handle(PURGE, on_purge),
        pool_status_handler(
            turn_pool,
            kept=orchestrator.store.count_kept_connections,
            waiting=lambda: len(orchestrator.dispatcher),
        ),
    ]
