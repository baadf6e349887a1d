"""Removal of bodies whose results are gone or were never stored."""

import asyncio
from collections.abc import Callable

from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_common.metrics import counter
from noetl_common.retry import Pace

from noetl_projector.results.bodies.places import Places
from noetl_projector.results.store import ResultStore
from noetl_projector.settings import Settings

_log = get_logger()
_IDLE_INTERVALS = 12
_REMOVED = counter(
    "noetl_result_bodies_removed_total",
    "Bodies outside the database.",
    ("status",),
    zeros=("ok", "error"),
)


async def run_removal(
    store: ResultStore,
    places: Places,
    *,
    settings: Settings,
    on_progress: Callable[[], None] = lambda: None,
) -> None:
    """Delete expired results and bodies due for removal, every interval, until cancelled."""
    seconds = settings.result_removal_interval_seconds
    pace = Pace(seconds, _IDLE_INTERVALS * seconds)
    while True:
        on_progress()
        found = False
        try:
            while await store.delete_expired_results(limit=settings.result_removal_batch):
                found = True
                on_progress()
            while await remove_bodies(store, places, limit=settings.result_removal_batch):
                found = True
                on_progress()
        except NoetlError as error:
            _log.warning("result_removal_failed", error=error.message)
        left = pace.after(found)
        while left > 0:
            on_progress()
            await asyncio.sleep(min(left, seconds))
            left -= seconds


async def remove_bodies(store: ResultStore, places: Places, *, limit: int) -> int:
    """Remove bodies that are due; return how many were claimed.

    A claim postpones the next attempt, so that replicas share the work, a failed removal is
    repeated later, and a crash loses nothing. A body that a result names stays.
    """
    taken = await store.take_removals(limit=limit)
    for name, location in taken:
        try:
            await places.delete(name, location)
        except NoetlError as error:
            _REMOVED.labels("error").inc()
            _log.warning("result_body_not_removed", store=name, error=error.message)
            continue
        await store.forget_removal(name, location=location)
        _REMOVED.labels("ok").inc()
    return len(taken)
