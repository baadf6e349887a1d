"""The follower of the logs: moves rows of the read model as events arrive (P1)."""

import asyncio
from collections.abc import Callable, Sequence
from time import time_ns

from noetl_bus.consumers.delivery import Delivery, ack_all
from noetl_common.errors import Conflict, Transient
from noetl_common.logging import get_logger
from noetl_common.metrics import counter, histogram
from noetl_common.telemetry.carrier import read_context
from noetl_common.telemetry.tracing import record, tracing

from noetl_projector.projection.store import ProjectionStore
from noetl_projector.settings import Settings

_RETRY_SECONDS = 0.5
_MOST_NAMED = 20
_log = get_logger()
_DELAY = histogram(
    "noetl_projection_delay_seconds",
    "From the message about a commit to the moved row, of the oldest message of each batch.",
)
_MOVED = counter("noetl_projection_moved_total", "Rows of the read model that were moved on.")


class Follower:
    """Consumer of the messages about commits that moves the rows of their executions."""

    def __init__(
        self,
        store: ProjectionStore,
        *,
        settings: Settings,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._on_progress = on_progress
        self.batches = 0

    async def on_messages(self, deliveries: Sequence[Delivery]) -> None:
        """Move the rows of a batch's executions, then acknowledge the batch.

        A message is only a hint that there are new rows: its content is not read. An outage is
        not an attempt; the batch is held until the database is back. A pause follows a batch
        that was not full, so that the next batch gathers more: a row is then moved a few times
        a second at most, no matter how many events its execution has.
        """
        self.batches += 1
        ids = {execution_of_subject(delivery.subject) for delivery in deliveries} - {None}
        wanted = sorted(number for number in ids if number is not None)
        while wanted:
            try:
                moved = await self._store.move_executions(wanted)
            except (Conflict, Transient) as error:
                named = wanted[:_MOST_NAMED]
                _log.warning("projection_waits", error=error.message, execution_ids=named)
                self._on_progress()
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            _MOVED.inc(moved)
            oldest = min(int(delivery.stored_at_ns) for delivery in deliveries)
            _DELAY.observe(max(0, time_ns() - oldest) / 1e9)
            break
        _record(deliveries)
        ack_all(deliveries)
        if len(deliveries) < self._settings.projection_batch:
            await asyncio.sleep(self._settings.projection_rest_seconds)


def _record(deliveries: Sequence[Delivery]) -> None:
    """Record a span for each traced commit, from its message to the rows that were moved."""
    recorder = tracing()
    if recorder is None:
        return
    now = time_ns()
    for delivery in deliveries:
        parent = read_context(delivery.headers)
        if parent is not None and not recorder.ignores(parent):
            attributes = {"noetl.execution_id": str(execution_of_subject(delivery.subject))}
            begin = int(delivery.stored_at_ns)
            record(
                recorder,
                "project",
                parent,
                from_ns=begin,
                to_ns=now,
                kind="consumer",
                attributes=attributes,
            )


def execution_of_subject(subject: str) -> int | None:
    """Return the execution of ``noetl_commits.<shard>.<execution>``."""
    token = subject.rpartition(".")[2]
    return int(token) if token.lstrip("-").isdigit() else None
