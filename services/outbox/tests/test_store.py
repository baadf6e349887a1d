"""Statements of the relay against a real PostgreSQL."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from noetl_common.pg.queries import Queries
from noetl_outbox.store import Page, Published, Store

type Rows = Any


@pytest.fixture
def store(rows: Rows) -> Store:
    return Store(rows.pool, shard=0, grace_seconds=1.5)


async def test_every_statement_fits_the_schema(rows: Rows) -> None:
    queries = Queries.load("noetl_outbox")
    async with rows.pool.acquire() as connection:
        for name in queries:
            await connection.prepare(queries[name])

    assert len(queries) > 8


async def test_acknowledgement_of_an_earlier_publication_does_not_mark_the_next(
    rows: Rows, store: Store
) -> None:
    """A row put back meanwhile would be lost for good."""
    command = rows.command(1, message_id="c:1:1")
    await rows.commit(command)
    await store.mark_published([Published(command["outbox_id"], "c:1:0", datetime.now(UTC), 5)])

    assert await rows.statuses() == {"PENDING": 1}


async def test_row_in_flight_comes_back_when_its_lease_is_over(rows: Rows, store: Store) -> None:
    await rows.commit(rows.event(1), age_seconds=60)
    taken = await store.claim_due_rows(lease_seconds=60, limit=10)
    too_early = await store.claim_due_rows(lease_seconds=60, limit=10)
    await rows.pool.execute("UPDATE noetl.outbox SET available_at = now()")
    taken_back = await store.claim_due_rows(lease_seconds=60, limit=10)

    assert [row.attempts for row in taken] == [1]
    assert too_early == []
    assert [row.attempts for row in taken_back] == [2]


@pytest.mark.parametrize(
    ("kind", "pending", "is_removed"),
    [("event", True, True), ("command", False, True), ("command", True, False)],
)
async def test_purge_keeps_what_may_have_to_go_out_again(
    rows: Rows,
    store: Store,
    kind: str,
    pending: bool,  # noqa: FBT001 -- a case
    is_removed: bool,  # noqa: FBT001 -- a case
) -> None:
    row = rows.event(1) if kind == "event" else rows.command(1)
    await rows.commit(row, pending=pending)
    await rows.pool.execute(
        "UPDATE noetl.outbox SET status = 'PUBLISHED', published_at = now() - $1::interval",
        timedelta(hours=2),
    )
    page = await store.purge_published(
        retention_seconds=60, message_retention_seconds=60, limit=10, after=Page()
    )

    assert (page.seen, page.removed) == (1, int(is_removed))


async def test_purge_leaves_fresh_rows_and_pages_over_all_old_ones(
    rows: Rows, store: Store
) -> None:
    await rows.commit(*(rows.event(number) for number in range(1, 8)))
    await rows.pool.execute(
        "UPDATE noetl.outbox SET status = 'PUBLISHED', published_at = CASE WHEN event_id < 6"
        " THEN now() - interval '1 hour' ELSE now() END"
    )
    page, seen = Page(), []
    for _ in range(4):
        page = await store.purge_published(
            retention_seconds=60, message_retention_seconds=60, limit=2, after=page
        )
        seen.append(page.removed)

    assert seen == [2, 2, 1, 0]
    assert await rows.statuses() == {"PUBLISHED": 2}
