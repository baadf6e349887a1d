"""The store of keys and grants, their handlers, and the consumer of the access audit."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from noetl_bus.broker import Bus
from noetl_bus.consumers.delivery import Delivery
from noetl_bus.consumers.pull import run_pull
from noetl_bus.rpc import Handler
from noetl_bus.topology import ensure_topology, run_topology_watch
from noetl_common import metrics
from noetl_common.errors import Transient
from noetl_common.ids import SnowflakeIds
from noetl_common.logging import get_logger
from noetl_contract.access.audit import AccessRecord, AccessRecords
from noetl_contract.streams import AUDIT, audit_durable
from noetl_pg.database import Database
from noetl_service.service import Service
from pydantic import ValidationError

from noetl_catalog.access.handlers import AccessHandlers, KeyUses
from noetl_catalog.access.keys import AccessSettings, configured_keys
from noetl_catalog.access.store import AccessStore

_PURGED_AT_ONCE = 10_000
_RETRY_SECONDS = 0.5
_MESSAGES = 64
_log = get_logger()
_KEPT = metrics.counter("noetl_access_audit_kept_total", "Stored records of the access audit")
_DROPPED = metrics.counter(
    "noetl_access_audit_dropped_total", "Records that gateways dropped because their queue was full"
)


class AuditTrail:
    """The consumer of the audit stream, which writes each batch of messages in one statement."""

    def __init__(
        self, store: AccessStore, *, on_progress: Callable[[], None] = lambda: None
    ) -> None:
        self._store = store
        self._on_progress = on_progress

    async def run(self, bus: Bus) -> None:
        """Consume until cancelled.

        Raises:
            BusClosed: the connection is closed for good.
        """
        streams, durables = (AUDIT,), (audit_durable(),)
        await ensure_topology(bus, streams, durables)
        async with asyncio.TaskGroup() as group:
            group.create_task(run_topology_watch(bus, streams, durables))
            group.create_task(
                run_pull(
                    bus,
                    durables[0],
                    self.on_messages,
                    batch=_MESSAGES,
                    on_progress=self._on_progress,
                )
            )

    async def on_messages(self, deliveries: Sequence[Delivery]) -> None:
        """Store the records of a batch, with retries during an outage, and acknowledge it."""
        records: list[AccessRecord] = []
        for delivery in deliveries:
            try:
                batch = AccessRecords.model_validate_json(delivery.data)
            except ValidationError as error:
                await delivery.dead_letter(f"not records of the access audit: {error.title}")
                continue
            records.extend(batch.records)
            _DROPPED.inc(batch.dropped)
        while True:
            try:
                await self._store.insert_records(records)
            except Transient as error:
                _log.warning("access_audit_waits", error=error.message)
                self._on_progress()
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                break
        _KEPT.inc(len(records))
        for delivery in deliveries:
            if not delivery.is_answered:
                await delivery.ack()


@dataclass(frozen=True, slots=True)
class Access:
    """The store, handlers and background work of keys, grants and the audit."""

    store: AccessStore
    bus: Bus
    uses: KeyUses
    handlers: list[Handler]
    settings: AccessSettings

    def join(self, service: Service) -> None:
        """Start the background work."""
        trail = AuditTrail(self.store, on_progress=service.beater("access audit"))
        service.spawn("access audit", trail.run(self.bus))
        service.spawn("key uses", self.uses.run(self.settings.access_key_use_seconds))

    async def delete_old(self) -> None:
        """Delete audit records after their retention.

        Raises:
            NoetlError: the database doesn't answer.
        """
        days = self.settings.access_audit_retention_days
        if days:
            await self.store.delete_old_records(days=days, limit=_PURGED_AT_ONCE)


async def open_access(
    database: Database, bus: Bus, *, ids: SnowflakeIds, settings: AccessSettings
) -> Access:
    """Store the keys of the settings, and build the parts.

    Raises:
        BadAccessKey: a key in the settings is not valid, which ends the process.
    """
    store = AccessStore(database)
    for role, key in configured_keys(settings.access_keys.get_secret_value()):
        await store.ensure_key(key, role)
    uses = KeyUses(store)
    handlers = AccessHandlers(store, bus=bus, ids=ids, uses=uses, settings=settings).handlers()
    return Access(store, bus, uses, handlers, settings)
