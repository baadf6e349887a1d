"""Remove rows published long ago, and measure the waiting ones."""

import asyncio

from noetl_common import metrics
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger

from noetl_outbox.settings import Settings
from noetl_outbox.store import Page, Store

_log = get_logger()


async def run_purge(store: Store, *, settings: Settings) -> None:
    """Remove old published rows every interval, until cancelled."""
    while True:
        try:
            await purge(store, settings=settings)
        except NoetlError as error:
            _log.warning("purge_failed", error=error.message)
        await asyncio.sleep(settings.outbox_purge_interval_seconds)


async def purge(store: Store, *, settings: Settings) -> int:
    """Go through the old rows once and remove those not needed; return their number."""
    removed, page = 0, Page()
    while True:
        page = await store.purge_published(
            retention_seconds=settings.outbox_retention_seconds,
            message_retention_seconds=settings.outbox_message_retention_seconds,
            limit=settings.outbox_purge_batch,
            after=page,
        )
        removed += page.removed
        if page.seen < settings.outbox_purge_batch:
            return removed


async def run_measure(store: Store, *, settings: Settings) -> None:
    """Export number and age of waiting rows, until cancelled."""
    waiting = metrics.gauge("noetl_outbox_waiting", "Rows whose time to be published has come.")
    oldest = metrics.gauge("noetl_outbox_oldest_seconds", "How long the oldest of them waits.")
    parked = metrics.gauge(
        "noetl_outbox_parked", "Rows given up for good; anything but 0 needs a look."
    )
    while True:
        try:
            measure = await store.measure()
        except NoetlError as error:
            _log.warning("outbox_not_measured", error=error.message)
        else:
            waiting.set(measure.waiting)
            oldest.set(measure.oldest_seconds)
            parked.set(measure.parked)
        await asyncio.sleep(settings.outbox_stats_interval_seconds)
