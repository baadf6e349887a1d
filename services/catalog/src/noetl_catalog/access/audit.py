"""Records of the access audit, from their stream into the table."""

import asyncio
from collections.abc import Callable, Sequence

from noetl_bus.broker import Bus
from noetl_bus.consumers.delivery import Delivery
from noetl_bus.consumers.pull import run_pull
from noetl_bus.topology import ensure_topology, run_topology_watch
from noetl_common import metrics
from noetl_common.errors import Transient
from noetl_common.logging import get_logger
from noetl_contract.access.audit import AccessRecord, AccessRecords
from noetl_contract.streams import AUDIT, audit_durable
from pydantic import ValidationError

from noetl_catalog.access.store import AccessStore

_RETRY_SECONDS = 0.5
_MESSAGES = 64
_log = get_logger()
_KEPT = metrics.counter("noetl_access_audit_kept_total", "Records of the access audit received")
_DROPPED = metrics.counter(
    "noetl_access_audit_dropped_total", "Records that edges had no room for, as they reported"
)


class AuditTrail:
    """The consumer of the stream: a batch of messages is one statement."""

    def __init__(
        self, store: AccessStore, *, on_progress: Callable[[], None] = lambda: None
    ) -> None:
        self._store = store
        self._on_progress = on_progress

    async def run(self, bus: Bus) -> None:
        """Consume until cancelled.

        Raises:
            BusClosed: the connection is gone for good.
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
        """Keep the records of a batch, then acknowledge it; an outage holds the batch."""
        records: list[AccessRecord] = []
        for delivery in deliveries:
            try:
                batch = AccessRecords.model_validate_json(delivery.data)
            except ValidationError as error:
                await delivery.dead_letter(f"no records of the access audit: {error.title}")
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
