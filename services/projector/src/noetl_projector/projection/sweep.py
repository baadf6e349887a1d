"""The sweep: rows of the read model that no message moved, after lost messages (P2)."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_common.metrics import gauge

from noetl_projector.projection.store import ProjectionStore
from noetl_projector.settings import Settings

_log = get_logger()
# An execution that ends during a sweep may be committed with an earlier time.
_OVERLAP = timedelta(seconds=60)


async def run_sweep(
    store: ProjectionStore, *, settings: Settings, on_progress: Callable[[], None] = lambda: None
) -> None:
    """Compare the read model with the logs every interval, until cancelled."""
    lagging = gauge("noetl_projection_lagging", "Executions that the last sweep found behind.")
    swept_to: datetime | None = None
    while True:
        on_progress()
        try:
            now = await store.read_clock()
            reach = timedelta(seconds=settings.sweep_first_reach_seconds)
            since = now - reach if swept_to is None else swept_to - _OVERLAP
            lagging.set(await sweep(store, ended_after=since, limit=settings.sweep_batch))
            swept_to = now
        except NoetlError as error:
            _log.warning("projection_sweep_failed", error=error.message)
        await asyncio.sleep(settings.sweep_interval_seconds)


async def sweep(store: ProjectionStore, *, ended_after: datetime, limit: int) -> int:
    """Move lagging rows of executions that run or ended after a time; return how many."""
    count = 0
    while True:
        behind = await store.find_lagging(ended_after=ended_after, limit=limit)
        if behind:
            count += await store.move_executions(behind)
        if len(behind) < limit:
            return count
