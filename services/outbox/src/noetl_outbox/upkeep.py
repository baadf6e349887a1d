"""Remove rows published long ago, and measure the waiting ones."""

from noetl_common import metrics

from noetl_outbox.settings import Settings
from noetl_outbox.store import Page, Store


async def purge(store: Store, settings: Settings) -> bool:
    """Go through the old published rows once and remove those not needed.

    Return whether there were any.
    """
    page, found = Page(), False
    while True:
        page = await store.purge_published(
            retention_seconds=settings.outbox_retention_seconds,
            message_retention_seconds=settings.outbox_message_retention_seconds,
            limit=settings.outbox_purge_batch,
            after=page,
        )
        found = found or page.seen > 0
        if page.seen < settings.outbox_purge_batch:
            return found


async def measure(store: Store) -> bool:
    """Export number and age of waiting rows; return whether there are any."""
    waiting = metrics.gauge("noetl_outbox_waiting", "Rows whose time to be published has come.")
    oldest = metrics.gauge("noetl_outbox_oldest_seconds", "How long the oldest of them waits.")
    parked = metrics.gauge(
        "noetl_outbox_parked", "Rows given up for good; anything but 0 needs a look."
    )
    found = await store.measure()
    waiting.set(found["waiting"])
    oldest.set(found["oldest_seconds"])
    parked.set(found["parked"])
    return bool(found["waiting"])
