"""The process of the outbox relay: connections, loops, handlers and metrics."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime

from noetl_bus.broker import Bus, connect
from noetl_bus.inbox import Incoming
from noetl_bus.rpc import Handler, serve_rpc
from noetl_bus.topology import ensure_topology, run_topology_watch
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_common.metrics import gauge
from noetl_contract.http.system.state import OutboxState
from noetl_contract.rpc.states import OUTBOX_STATE
from noetl_contract.streams import STREAMS
from noetl_contract.subjects import published_filter
from noetl_pg.database import Database
from noetl_pg.identity import check_identity
from noetl_pg.pool import open_pool, wait_for_schema
from noetl_pg.rights import check_rights
from noetl_service.logins import database_login
from noetl_service.service import Service, ServiceApp, create_service_app, every
from noetl_service.state import state_handler

from noetl_outbox.external_publishers import ExternalPublishers
from noetl_outbox.given_up import GivenUpHandlers
from noetl_outbox.recovery import Recovery
from noetl_outbox.relay import Relay
from noetl_outbox.settings import Settings
from noetl_outbox.store import Page, Store

SCHEMA = "0001"
_NAME = "outbox"
# While there is nothing to purge, the pause grows up to this multiple of its interval.
_IDLE_INTERVALS = 6
_REQUESTS_AT_ONCE = 4
KINDS = ("command", "commit", "event", "message")
_log = get_logger()

_WAITING = gauge("noetl_outbox_waiting", "Rows that are due to be published.")
_OLDEST = gauge(
    "noetl_outbox_oldest_seconds",
    "Age of the oldest unpublished row, including rows that wait for their next attempt.",
)
_PARKED = gauge("noetl_outbox_parked", "Parked rows: their publication was given up for good.")
_PENDING = gauge(
    "noetl_outbox_pending",
    "Unpublished rows by shard and kind, counted up to 100,000; includes rows in flight and rows "
    "that wait for their next attempt.",
    ("shard", "kind"),
)


def create_app(settings: Settings | None = None) -> ServiceApp:
    """Build the service; nothing connects before its lifespan begins."""
    known = settings or Settings()
    return create_service_app(_NAME, lambda service: open_relay(service, known), known)


@asynccontextmanager
async def open_relay(service: Service, settings: Settings) -> AsyncIterator[None]:
    """Connect and start all loops of the relay; stop them when the block ends."""
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(connect(settings, name=_NAME))
        # The streams come first: services whose logins may not create streams wait for them.
        await ensure_topology(bus)
        pool = await stack.enter_async_context(
            open_pool(settings, name=_NAME, login=database_login(settings, bus))
        )
        await wait_for_schema(pool, SCHEMA)
        await check_rights(pool, service=_NAME, role=settings.postgres_user)
        await check_identity(pool, settings, shard=settings.shard_index)
        database = Database(pool)
        store = Store(database, settings)
        creation_times = dict[str, datetime]()
        relay = Relay(bus, store, creation_times=creation_times, settings=settings)
        recovery = Recovery(
            bus, store, creation_times=creation_times, wake_sweep=relay.wake, settings=settings
        )
        service.ready_when("nats", bus.is_ready)
        service.ready_when("nats_stores", bus.silence.is_over)
        service.ready_when("postgres", database.is_reachable)
        service.measure_when_read(
            "outbox",
            lambda: measure(store, shard=settings.shard_index),
            *(_WAITING, _OLDEST, _PARKED, _PENDING),
        )
        await _read_creation_times(recovery)
        loops = {
            "topology": run_topology_watch(
                bus, STREAMS, (), on_stream_recreated=recovery.on_stream_recreated
            ),
            "recovery": recovery.run(),
            "marks": relay.run_marks(),
            "sweep": relay.run_sweep(service.beater("sweep")),
            "purge": every(
                settings.outbox_purge_interval_seconds,
                lambda: purge(store, settings),
                warning="purge_failed",
                longest_seconds=_IDLE_INTERVALS * settings.outbox_purge_interval_seconds,
            ),
        }
        for name, loop in loops.items():
            service.spawn(name, loop)
        shard = settings.shard_index
        async with (
            _receive_acks(bus, relay.on_ack, shard=shard),
            serve_rpc(
                bus,
                _handlers(service, bus, database, store, settings=settings),
                queue=_NAME,
                shard=shard,
                concurrency=_REQUESTS_AT_ONCE,
            ),
        ):
            yield


def _handlers(
    service: Service, bus: Bus, database: Database, store: Store, *, settings: Settings
) -> list[Handler]:
    """Return the handlers of all requests."""
    shard = settings.shard_index
    return [
        *ExternalPublishers(database, settings=settings).handlers(),
        *GivenUpHandlers(bus, database, shard=shard).handlers(),
        state_handler(service, OUTBOX_STATE, shard=shard, outbox=lambda: read_state(store)),
    ]


@asynccontextmanager
async def _receive_acks(
    bus: Bus, on_ack: Callable[[Incoming], None], *, shard: int
) -> AsyncIterator[None]:
    """Receive acknowledgements while the block lasts; replicas share them in a queue group."""
    subscription = await bus.subscribe(published_filter(shard), on_ack, queue=_NAME)
    try:
        yield
    finally:
        await subscription.unsubscribe()


async def _read_creation_times(recovery: Recovery) -> None:
    """Read the streams' creation times, before the first row is published."""
    try:
        await recovery.compare_streams()
    except NoetlError as error:
        _log.warning("first_comparison_failed", error=error.message)


async def purge(store: Store, settings: Settings) -> bool:
    """Remove old published rows that are no longer needed, in one pass.

    Return whether the pass saw any old row.
    """
    page, has_seen = Page(), False
    while True:
        page = await store.purge_published(
            retention_seconds=settings.outbox_retention_seconds,
            message_retention_seconds=settings.outbox_message_retention_seconds,
            limit=settings.outbox_purge_batch,
            after=page,
        )
        has_seen = has_seen or page.seen > 0
        if page.seen < settings.outbox_purge_batch:
            return has_seen


async def measure(store: Store, *, shard: int) -> None:
    """Export the numbers of waiting and parked rows, and the age of the oldest, as metrics."""
    numbers = await store.measure()
    _WAITING.set(numbers["waiting"])
    _OLDEST.set(numbers["oldest_seconds"])
    _PARKED.set(numbers["parked"])
    for kind in KINDS:
        _PENDING.labels(str(shard), kind).set(numbers[kind])


async def read_state(store: Store) -> OutboxState:
    """Return the numbers of waiting and parked rows, and the age of the oldest."""
    numbers = await store.measure()
    return OutboxState(
        waiting=numbers["waiting"],
        oldest_seconds=numbers["oldest_seconds"],
        parked=numbers["parked"],
        pending={kind: numbers[kind] for kind in KINDS},
    )
