"""Remove rows published long ago, and measure the waiting ones."""

from noetl_common.metrics import counter, gauge
from noetl_contract.http.system.state import OutboxState

from noetl_outbox.settings import Settings
from noetl_outbox.store import Page, Store

KINDS = ("command", "commit", "event", "message")

WAITING = gauge("noetl_outbox_waiting", "Rows whose time to be published has come.")
OLDEST = gauge(
    "noetl_outbox_oldest_seconds",
    "Age of the oldest row that is not published, also of one that rests after a failure.",
)
PARKED = gauge("noetl_outbox_parked", "Rows given up for good that are still kept.")
PENDING = gauge(
    "noetl_outbox_pending",
    "Rows to be published, up to 100,000, by shard and kind: also those in flight, and those that "
    "rest after a failure.",
    ("shard", "kind"),
)
MEASURED = (WAITING, OLDEST, PARKED, PENDING)
ROWS = counter(
    "noetl_outbox_rows_total",
    "Rows by who published them and how that ended; the sweep's had not been confirmed.",
    ("by", "end"),
    zeros=(
        ("orchestrator", "ok"),
        ("orchestrator", "failed"),
        ("sweep", "ok"),
        ("sweep", "failed"),
        ("sweep", "parked"),
    ),
)


async def purge(store: Store, settings: Settings) -> bool:
    """Remove old published rows that are no longer needed, in one pass.

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


async def measure(store: Store, *, shard: int) -> None:
    """Export the numbers of waiting and parked rows, and the age of the oldest, as metrics."""
    found = await store.measure()
    WAITING.set(found["waiting"])
    OLDEST.set(found["oldest_seconds"])
    PARKED.set(found["parked"])
    for kind in KINDS:
        PENDING.labels(str(shard), kind).set(found[kind])


async def read_state(store: Store) -> OutboxState:
    """Return the number of rows to be published, and the age of the oldest."""
    found = await store.measure()
    return OutboxState(
        waiting=found["waiting"],
        oldest_seconds=found["oldest_seconds"],
        parked=found["parked"],
        pending={kind: found[kind] for kind in KINDS},
    )
