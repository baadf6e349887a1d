"""The parts of the projector service and how they fit together."""

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from noetl_common.bus.broker import connect
from noetl_common.bus.pull import run_pull
from noetl_common.bus.rpc import RpcClient, serve_rpc
from noetl_common.bus.topology import ensure_topology, run_topology_watch
from noetl_common.ids import lease_machine_id
from noetl_common.pg.identity import check_identity
from noetl_common.pg.pool import open_pool, wait_for_schema
from noetl_common.service import Service, ServiceApp, create_service_app
from noetl_contract.streams import EVENTS, projector_durable

from noetl_projector.dashboard.handlers import DashboardHandlers
from noetl_projector.executions.handlers import ExecutionHandlers
from noetl_projector.executions.event_handlers import LookupHandlers
from noetl_projector.projection.follower import Projection
from noetl_projector.projection.rebuild import RebuildHandlers
from noetl_projector.results.bodies.places import open_places
from noetl_projector.results.bodies.removal import run_removal
from noetl_projector.results.list_handlers import ResultListHandlers
from noetl_projector.results.handlers import ResultHandlers
from noetl_projector.settings import Settings
from noetl_projector.sql_console.console import open_console
from noetl_projector.sql_console.handlers import SqlHandlers
from noetl_projector.executions.store import Store
from noetl_projector.projection.sweep import run_sweep
from noetl_projector.variables.handlers import VarHandlers


SCHEMA = "0008"
_NAME = "projector"


def create_app(settings: Settings | None = None) -> ServiceApp:
    """Build the service; nothing connects before its lifespan begins."""
    known = settings or Settings()
    return create_service_app(_NAME, lambda service: open_parts(service, known), known)


@asynccontextmanager
async def open_parts(service: Service, settings: Settings) -> AsyncIterator[None]:
    """Open everything the service is made of, and serve until the block ends."""
    durable = projector_durable(settings.shard_index)
    async with connect(settings, name=_NAME) as bus, open_pool(settings, name=_NAME) as pool:
        await wait_for_schema(pool, SCHEMA)
        await check_identity(pool, settings, shard=settings.shard_index)
        await ensure_topology(bus, (EVENTS,), (durable,))
        store = Store(pool)
        holder = f"{_NAME}/{os.getpid()}/{secrets.token_hex(4)}"
        async with (
            lease_machine_id(RpcClient(bus), holder) as ids,
            open_console(settings) as console,
        ):
            service.ready_when("nats", bus.is_ready)
            service.ready_when("postgres", store.is_reachable)
            service.ready_when("ids", ids.is_ready)
            reads = ExecutionHandlers(store, settings=settings)
            places = open_places(settings, bus)
            service.ready_when("results", places.is_ready)
            results = ResultHandlers(store, bus=bus, settings=settings, ids=ids, places=places)
            projection = Projection(
                store, settings=settings, on_progress=service.beater("projection")
            )
            service.spawn("topology", run_topology_watch(bus, (EVENTS,), (durable,)))
            if settings.projector_follow:
                service.spawn(
                    "projection",
                    run_pull(
                        bus,
                        durable,
                        projection.on_messages,
                        batch=settings.projection_batch,
                        on_progress=service.beater("projection"),
                    ),
                )
                service.spawn(
                    "sweep",
                    run_sweep(store, settings=settings, on_progress=service.beater("sweep")),
                )
            service.spawn(
                "removal",
                run_removal(
                    store, places, settings=settings, on_progress=service.beater("removal")
                ),
            )
            routes = (
                reads.routes() | results.routes() | VarHandlers(pool, settings=settings).routes()
            )
            routes |= DashboardHandlers(pool, settings=settings).routes()
            routes |= SqlHandlers(console, bus=bus, settings=settings).routes()
            routes |= LookupHandlers(pool, settings=settings).routes()
            routes |= RebuildHandlers(pool, store, settings=settings).routes()
            routes |= ResultListHandlers(pool, settings=settings).routes()
            queue = f"{_NAME}_{settings.shard_index}"
            async with serve_rpc(bus, routes, queue=queue, concurrency=settings.rpc_concurrency):
                yield
