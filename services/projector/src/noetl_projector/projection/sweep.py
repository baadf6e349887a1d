"""The sweep: rows of the read model that no message moved, after lost messages (P2)."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_common.metrics import gauge
from noetl_common.process.measures import measured_by, not_measured
from noetl_common.retry import Pace

from noetl_projector.projection.store import ProjectionStore
from noetl_projector.settings import Settings

_log = get_logger()
# An execution that ends during a sweep may be committed with an earlier time.
_OVERLAP = timedelta(seconds=60)


async def run_sweep(
    store: ProjectionStore,
    *,
    settings: Settings,
    on_progress: Callable[[], None] = lambda: None,
    count_batches: Callable[[], int] = lambda: 0,
) -> None:
    """Compare the read model with the logs every interval, until cancelled.

    The interval grows while no messages come, which ``count_batches`` counts, and nothing is
    behind.
    """
    lagging = gauge("noetl_projection_lagging", "Executions that the last sweep found behind.")
    measured_by("projection")
    swept_to: datetime | None = None
    pace = Pace(settings.sweep_interval_seconds, settings.sweep_idle_interval_seconds)
    while True:
        seen, found = count_batches(), 0
        try:
            now = await store.read_clock()
            reach = timedelta(seconds=settings.sweep_first_reach_seconds)
            since = now - reach if swept_to is None else swept_to - _OVERLAP
            found = await sweep(store, ended_after=since, limit=settings.sweep_batch)
            lagging.set(found)
            swept_to = now
        except NoetlError as error:
            not_measured("projection", lagging)
            _log.warning("projection_sweep_failed", error=error.message)
        left = pace.after(found)
        while left > 0:
            on_progress()
            await asyncio.sleep(min(left, settings.sweep_interval_seconds))
            left -= settings.sweep_interval_seconds
            if count_batches() != seen:
                # Messages come again: rows that they miss are found as soon as before.
                pace.reset()
                break


async def sweep(store: ProjectionStore, *, ended_after: datetime, limit: int) -> int:
    """Move lagging rows of executions that run or ended after a time; return how many."""
    count = 0
    while True:
        behind = await store.find_lagging(ended_after=ended_after, limit=limit)
        if behind:
            count += await store.move_executions(behind)
        if len(behind) < limit:
            return count
