"""The parts of the projector service and how they fit together."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from noetl_bus.broker import Bus, connect
from noetl_bus.consumers.pull import run_pull
from noetl_bus.rpc import Handler, RpcClient, serve_rpc
from noetl_bus.topology import ensure_topology, run_topology_watch
from noetl_contract.rpc.states import PROJECTOR_STATE
from noetl_contract.streams import COMMITS, projector_durable
from noetl_pg.database import Database
from noetl_pg.identity import check_identity
from noetl_pg.pool import open_pool, wait_for_schema
from noetl_pg.rights import check_rights
from noetl_service.logins import database_login
from noetl_service.machine_ids import lease_machine_id
from noetl_service.service import Service, ServiceApp, create_service_app
from noetl_service.state import queue_states, state_handler

from noetl_projector.dashboard.handlers import DashboardHandlers
from noetl_projector.dashboard.measures import EXECUTIONS, measure
from noetl_projector.dashboard.store import DashboardStore
from noetl_projector.executions.handlers import ExecutionHandlers
from noetl_projector.executions.store import ExecutionStore
from noetl_projector.known_secrets import KnownSecrets
from noetl_projector.projection.follower import Follower
from noetl_projector.projection.handlers import ProjectionHandlers
from noetl_projector.projection.store import ProjectionStore
from noetl_projector.projection.sweep import run_sweep
from noetl_projector.replay.handlers import ReplayHandlers
from noetl_projector.replay.store import ReplayStore
from noetl_projector.results.bodies.places import open_places
from noetl_projector.results.handlers import ResultHandlers, ResultListHandlers
from noetl_projector.results.removal import run_removal
from noetl_projector.results.store import ResultStore
from noetl_projector.settings import Settings
from noetl_projector.sql_console.console import open_console
from noetl_projector.sql_console.handlers import SqlHandlers
from noetl_projector.steps.handlers import StepHandlers
from noetl_projector.steps.store import StepStore
from noetl_projector.subscriptions.handlers import SubscriptionHandlers
from noetl_projector.subscriptions.store import SubscriptionStore
from noetl_projector.triage.failures import FailureStore
from noetl_projector.triage.handlers import TriageHandlers
from noetl_projector.triage.open_work import OpenWorkStore
from noetl_projector.variables.handlers import VariableHandlers
from noetl_projector.variables.store import VariableStore
from noetl_projector.waits.handlers import WaitHandlers
from noetl_projector.waits.store import WaitStore

SCHEMA = "0022"
_NAME = "projector"
_SWITCH_SECONDS = 0.001


def create_app(settings: Settings | None = None) -> ServiceApp:
    """Build the service; nothing connects before its lifespan begins."""
    chosen = settings or Settings()
    return create_service_app(_NAME, lambda service: open_parts(service, chosen), chosen)


@asynccontextmanager
async def open_parts(service: Service, settings: Settings) -> AsyncIterator[None]:
    """Open everything the service is made of, and serve until the block ends."""
    durable = projector_durable(settings.shard_index)
    # Long answers are built in a thread; the loop gets its turn after this, not after 5 ms.
    sys.setswitchinterval(_SWITCH_SECONDS)
    async with (
        connect(settings, name=_NAME) as bus,
        open_pool(settings, name=_NAME, login=database_login(settings, bus)) as pool,
    ):
        await wait_for_schema(pool, SCHEMA)
        await check_rights(pool, service=_NAME, role=settings.postgres_user)
        await check_identity(pool, settings, shard=settings.shard_index)
        await ensure_topology(bus, (COMMITS,), (durable,))
        database = Database(pool)
        executions, results = ExecutionStore(database), ResultStore(database)
        projection = ProjectionStore(database)
        async with (
            lease_machine_id(RpcClient(bus), _NAME) as ids,
            open_console(settings) as console,
        ):
            places = open_places(settings, bus)
            service.ready_when("nats", bus.is_ready)
            service.ready_when("postgres", database.is_reachable)
            service.ready_when("ids", ids.is_ready)
            service.ready_when("results", places.is_ready)
            counters = DashboardStore(database)
            service.measure_when_read(
                "executions", lambda: measure(counters, shard=settings.shard_index), EXECUTIONS
            )
            service.spawn("topology", run_topology_watch(bus, (COMMITS,), (durable,)))
            if settings.projector_follow:
                _follow(service, bus, projection, settings=settings)
            removal_progress = service.beater("removal")
            service.spawn(
                "removal",
                run_removal(results, places, settings=settings, on_progress=removal_progress),
            )
            handlers = [
                *_read_handlers(database, executions, projection, settings=settings),
                *ResultHandlers(
                    results, bus=bus, settings=settings, ids=ids, places=places
                ).handlers(),
                *ResultListHandlers(results).handlers(),
                *ProjectionHandlers(projection, settings=settings).handlers(),
                *SqlHandlers(console, bus=bus, settings=settings).handlers(),
                state_handler(
                    service,
                    PROJECTOR_STATE,
                    shard=settings.shard_index,
                    queues=lambda: queue_states(bus, (durable,)),
                ),
            ]
            async with serve_rpc(
                bus,
                handlers,
                queue=f"{_NAME}_{settings.shard_index}",
                shard=settings.shard_index,
                concurrency=settings.rpc_concurrency,
            ):
                yield


def _follow(service: Service, bus: Bus, store: ProjectionStore, *, settings: Settings) -> None:
    """Keep the read model up to date in the background."""
    on_progress = service.beater("projection")
    follower = Follower(store, settings=settings, on_progress=on_progress)
    service.spawn(
        "projection",
        run_pull(
            bus,
            projector_durable(settings.shard_index),
            follower.on_messages,
            batch=settings.projection_batch,
            gathers=True,
            on_progress=on_progress,
        ),
    )
    service.spawn(
        "sweep",
        run_sweep(
            store,
            settings=settings,
            on_progress=service.beater("sweep"),
            count_batches=lambda: follower.batches,
        ),
    )


def _read_handlers(
    database: Database,
    executions: ExecutionStore,
    projection: ProjectionStore,
    *,
    settings: Settings,
) -> list[Handler]:
    """Return the handlers that need nothing but the database."""
    secrets = KnownSecrets(database)
    return [
        *ExecutionHandlers(executions, projection, secrets=secrets, settings=settings).handlers(),
        *StepHandlers(StepStore(database), projection, secrets=secrets).handlers(),
        *ReplayHandlers(ReplayStore(database), secrets=secrets).handlers(),
        *TriageHandlers(
            FailureStore(database), OpenWorkStore(database), secrets=secrets
        ).handlers(),
        *SubscriptionHandlers(SubscriptionStore(database)).handlers(),
        *VariableHandlers(VariableStore(database), settings=settings).handlers(),
        *WaitHandlers(WaitStore(database), secrets=secrets).handlers(),
        *DashboardHandlers(DashboardStore(database)).handlers(),
    ]
