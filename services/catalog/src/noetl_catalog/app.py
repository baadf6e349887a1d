"""The process of the catalog: connections, parts, handlers and loops."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from noetl_bus.broker import Bus, connect
from noetl_bus.rpc import Handler, RpcClient, serve_rpc
from noetl_common.errors import NoetlError
from noetl_common.ids import SnowflakeIds
from noetl_common.logging import get_logger
from noetl_contract.hints import ChangeHint
from noetl_contract.rpc.states import CATALOG_STATE
from noetl_contract.streams import audit_durable
from noetl_contract.subjects import TRIGGER_HINT
from noetl_pg.database import Database
from noetl_pg.identity import check_identity
from noetl_pg.pool import open_pool, wait_for_schema
from noetl_pg.rights import check_rights
from noetl_service.machine_ids import lease_machine_id
from noetl_service.service import Service, ServiceApp, create_service_app
from noetl_service.state import queue_states, state_handler

from noetl_catalog.access.parts import Access, open_access
from noetl_catalog.entries.parsers import Parsers
from noetl_catalog.entries.read_handlers import ReadHandlers
from noetl_catalog.entries.register_handlers import RegisterHandlers
from noetl_catalog.entries.store import EntryStore
from noetl_catalog.entries.suites import SuiteHandlers, SuiteStore
from noetl_catalog.libraries import Resolver
from noetl_catalog.plugins import PluginHandlers
from noetl_catalog.runtimes.handlers import Heartbeats, MachineHandlers, RuntimeHandlers
from noetl_catalog.runtimes.pauses import PauseHandlers, PauseStore
from noetl_catalog.runtimes.store import RuntimeStore
from noetl_catalog.schedules.parts import Schedules, make_schedules
from noetl_catalog.secrets.keychain.entries import KeychainEntries
from noetl_catalog.secrets.keychain.executions import Executions
from noetl_catalog.secrets.parts import Secrets, open_secrets
from noetl_catalog.settings import Settings

SCHEMA = "0029"
_NAME = "catalog"
_log = get_logger()


def create_app(settings: Settings | None = None) -> ServiceApp:
    """Build the service; nothing connects before its lifespan begins."""
    chosen = settings or Settings()
    return create_service_app(_NAME, lambda service: open_parts(service, chosen), chosen)


@asynccontextmanager
async def open_parts(service: Service, settings: Settings) -> AsyncIterator[None]:
    """Open the parts of the service, and serve until the block ends."""
    async with connect(settings, name=_NAME) as bus, open_pool(settings, name=_NAME) as pool:
        await wait_for_schema(pool, SCHEMA)
        await check_rights(pool, service=_NAME, role=settings.postgres_user)
        await check_identity(pool, settings, shard=settings.shard_of_database())
        database = Database(pool)
        store = EntryStore(database)
        runtime_store = RuntimeStore(database)
        machines = MachineHandlers(runtime_store, settings=settings)
        rpc = RpcClient(bus)
        async with (
            # These handlers come first: the process may lease its machine id from itself.
            serve_rpc(bus, machines.handlers(), queue=_NAME, concurrency=4),
            lease_machine_id(rpc, _NAME) as ids,
            open_secrets(
                database,
                entries=KeychainEntries(store, settings=settings),
                executions=Executions(rpc, shard_count=settings.shard_count),
                ids=ids,
                settings=settings,
                needs_login=settings.needs_login,
            ) as secret_parts,
        ):
            access = await open_access(database, bus, ids=ids, settings=settings)
            heartbeats = Heartbeats(runtime_store, ids=ids)
            schedules = make_schedules(
                database,
                bus,
                rpc,
                ids=ids,
                shards=settings.shard_count,
                settings=settings,
                service=service,
            )
            runtimes = RuntimeHandlers(
                runtime_store, settings=settings, ids=ids, heartbeats=heartbeats
            )
            service.ready_when("nats", bus.is_ready)
            service.ready_when("postgres", database.is_reachable)
            service.ready_when("ids", ids.is_ready)
            service.spawn("heartbeats", heartbeats.run())
            service.spawn(
                "cleanup",
                run_cleanup(runtime_store, secret_parts, access, schedules, settings=settings),
            )
            secret_parts.join(service)
            access.join(service)
            await schedules.join(service)
            handlers = [
                *entry_handlers(database, schedules, bus, ids=ids, settings=settings),
                *runtimes.handlers(),
                *PauseHandlers(PauseStore(database), bus).handlers(),
                *access.handlers,
                *schedules.handlers,
                *secret_parts.handlers,
                own_state(service, bus),
            ]
            async with serve_rpc(bus, handlers, queue=_NAME, concurrency=settings.rpc_concurrency):
                yield


def own_state(service: Service, bus: Bus) -> Handler:
    """Return the handler of the service's state."""
    return state_handler(
        service, CATALOG_STATE, queues=lambda: queue_states(bus, (audit_durable(),))
    )


def entry_handlers(
    database: Database, schedules: Schedules, bus: Bus, *, ids: SnowflakeIds, settings: Settings
) -> list[Handler]:
    """Return the handlers of documents."""
    store, parsers = EntryStore(database), Parsers(settings)
    register = RegisterHandlers(
        store,
        settings=settings,
        ids=ids,
        parsers=parsers,
        schedules=schedules.store,
        resolver=Resolver(settings),
        changed=schedules.hints.notify,
        triggers_changed=lambda: bus.send(TRIGGER_HINT, ChangeHint().to_json()),
    )
    return [
        *ReadHandlers(store, settings=settings, parsers=parsers).handlers(),
        *PluginHandlers(store, settings=settings, parsers=parsers).handlers(),
        *register.handlers(),
        *SuiteHandlers(SuiteStore(database)).handlers(),
    ]


async def run_cleanup(
    store: RuntimeStore,
    secret_parts: Secrets,
    access: Access,
    schedules: Schedules,
    *,
    settings: Settings,
) -> None:
    """Delete old runtimes, secrets, records and firings every interval, until cancelled."""
    while True:
        try:
            await store.delete_silent_runtimes(silent_seconds=settings.runtime_retention_seconds)
            await secret_parts.delete_old()
            await access.delete_old()
            await schedules.delete_old()
        except NoetlError as error:
            _log.warning("cleanup_failed", error=error.message)
        await asyncio.sleep(settings.runtime_cleanup_interval_seconds)
