"""Statements of the relay against a real PostgreSQL."""

from datetime import UTC, datetime, timedelta

import pytest
from noetl_contract.json import Json
from noetl_outbox.app import measure
from noetl_outbox.settings import Settings
from noetl_outbox.store import Page, Published, Store, StreamState
from noetl_pg.database import Database
from noetl_pg.sql.queries import Queries
from prometheus_client import REGISTRY

from services.outbox.tests.rows import Rows


@pytest.fixture
def store(rows: Rows) -> Store:
    return Store(Database(rows.pool), Settings())


async def test_acknowledgement_of_an_earlier_publication_does_not_mark_the_next(
    rows: Rows, store: Store
) -> None:
    """A row put back meanwhile would be lost for good."""
    command = rows.command(1, message_id="c:1:1")
    await rows.commit(command)
    await store.mark_published([Published(command["outbox_id"], "c:1:0", datetime.now(UTC), 5)])

    assert await rows.statuses() == {"PENDING": 1}


async def test_a_mark_does_not_wait_for_the_disk(rows: Rows) -> None:
    command = rows.command(1)
    await rows.commit(command)
    mark = Queries.load("noetl_outbox")["mark_published"]
    async with rows.pool.acquire() as connection:
        async with connection.transaction():
            row = [[command["outbox_id"]], [command["message_id"]], [None], [1]]
            assert await connection.execute(mark, *row) == "UPDATE 1"
            assert await connection.fetchval("SHOW synchronous_commit") == "off"
        assert await connection.fetchval("SHOW synchronous_commit") == "on"


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


# A stream that holds the messages 3 to 10, and an earlier one.
BIRTH = datetime(2026, 6, 15, tzinfo=UTC)
EARLIER = BIRTH - timedelta(seconds=1)


async def as_it_is(store: Store) -> StreamState:
    return StreamState(BIRTH, 3, 10, await store.now())


async def publish(
    rows: Rows, row: Json, created_at: datetime, sequence: int, *, age_seconds: float = 1.0
) -> None:
    """Mark a row as published to a stream."""
    await rows.pool.execute(
        "UPDATE noetl.outbox SET status = 'PUBLISHED', stream_created_at = $2,"
        " stream_sequence = $3, published_at = now() - make_interval(secs => $4)"
        " WHERE outbox_id = $1",
        row["outbox_id"],
        created_at,
        sequence,
        age_seconds,
    )


async def taken_by_sweep(store: Store) -> set[str]:
    return {row.message_id for row in await store.claim_due_rows(lease_seconds=60, limit=100)}


async def test_o5_a_command_is_lost_for_one_of_three_reasons(rows: Rows, store: Store) -> None:
    """A stream that was made anew does not know the old id; the same one may remember it."""
    places = {
        1: (EARLIER, 5),  # the stream is another one
        2: (BIRTH, 11),  # it ends before
        3: (BIRTH, 2),  # it begins after
        4: (BIRTH, 3),
        5: (BIRTH, 10),
    }
    claimed = {6: "CLAIMED", 7: "RUNNING", 8: "COMPLETED", 9: "CANCELLED"}
    made = {number: rows.command(number) for number in (*places, *claimed)}
    await rows.commit(*made.values())
    for number, row in made.items():
        await publish(rows, row, *places.get(number, (EARLIER, 11)))
    for number, status in claimed.items():
        await rows.pool.execute(
            "UPDATE noetl.command SET status = $2 WHERE event_id = $1", number, status
        )

    returned = await store.return_lost_commands(await as_it_is(store))

    assert returned == 3
    assert await taken_by_sweep(store) == {"c:1:0", "c:2:0:r1", "c:3:0:r1"}


async def test_o5_lost_events_and_messages_go_out_again_under_their_ids(
    rows: Rows, store: Store
) -> None:
    """Rows before the first sequence were handled or have expired; old events are not needed."""
    places = {
        1: (EARLIER, 5, 1),
        2: (BIRTH, 11, 1),
        3: (BIRTH, 2, 1),
        4: (BIRTH, 10, 1),
        5: (EARLIER, 5, 61),
    }
    for number, place in places.items():
        for row in (
            rows.event(number, message_id=f"e:{number}"),
            rows.event(number, kind="message", message_id=f"m:{number}", payload={}),
        ):
            await rows.commit(row)
            *where, age_seconds = place
            await publish(rows, row, *where, age_seconds=age_seconds)
    state = await as_it_is(store)

    events = await store.return_lost_events(state, recent_seconds=60, limit=10)
    messages = await store.return_lost_messages(state)

    assert (events, messages) == (2, 3)
    assert await taken_by_sweep(store) == {"e:1", "e:2", "m:1", "m:2", "m:5"}


async def test_o5_what_was_published_after_the_look_is_not_lost(rows: Rows, store: Store) -> None:
    """Its sequence is above the end that was seen."""
    made = rows.event(2), rows.command(1), rows.event(3, kind="message")
    await rows.commit(*made)
    state = await as_it_is(store)
    for row in made:
        await publish(rows, row, BIRTH, 11, age_seconds=-1)

    assert await store.return_lost_commands(state) == 0
    assert await store.return_lost_events(state, recent_seconds=60, limit=10) == 0
    assert await store.return_lost_messages(state) == 0


async def test_messages_to_executions_are_kept_for_longer(rows: Rows, store: Store) -> None:
    message = rows.event(1, kind="message")
    await rows.commit(message)
    await publish(rows, message, BIRTH, 1, age_seconds=100)
    removed = []
    for kept_seconds in (200, 60):
        page = await store.purge_published(
            retention_seconds=60, message_retention_seconds=kept_seconds, limit=10, after=Page()
        )
        removed.append(page.removed)

    assert removed == [0, 1]


async def test_rows_to_be_published_are_counted_by_kind(rows: Rows, store: Store) -> None:
    """Commands too: a backlog of them is what workers wait for."""
    await rows.commit(rows.command(1), rows.command(2), rows.event(3), rows.of_commit(4, 4))
    await rows.commit(rows.command(5), age_seconds=30)
    await rows.pool.execute(
        "UPDATE noetl.outbox SET status = 'IN_FLIGHT',"
        " available_at = now() + interval '1 minute' WHERE event_id = 1"
    )
    await rows.pool.execute("UPDATE noetl.outbox SET status = 'PARKED' WHERE event_id = 2")

    await measure(store, shard=3)

    pending = {
        kind: REGISTRY.get_sample_value("noetl_outbox_pending", {"shard": "3", "kind": kind})
        for kind in ("command", "commit", "event", "message")
    }
    assert pending == {"command": 2, "commit": 1, "event": 1, "message": 0}
    assert REGISTRY.get_sample_value("noetl_outbox_waiting") == 3
    assert REGISTRY.get_sample_value("noetl_outbox_parked") == 1
    oldest = REGISTRY.get_sample_value("noetl_outbox_oldest_seconds")
    assert oldest is not None
    assert 29 < oldest < 60


async def test_the_service_s_own_rights_are_enough_to_give_up_a_row(rows: Rows) -> None:
    await rows.commit(rows.command(1))
    park = Queries.load("noetl_outbox")["park_row"]
    async with rows.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(
                "CREATE ROLE only_here; GRANT USAGE ON SCHEMA noetl TO only_here"
            )
            rights = await connection.fetch(
                "SELECT table_name, privileges FROM noetl.service_rights()"
                " WHERE role_name = 'noetl_outbox'"
            )
            for table, privileges in rights:
                await connection.execute(f"GRANT {privileges} ON noetl.{table} TO only_here")
            await connection.execute("SET LOCAL ROLE only_here")
            number = rows.last_id
            await connection.execute(
                park, number, "too large", "noetl_ingress.0.1.finalize", "f", {}
            )
            found = await connection.fetch("SELECT status, outbox_id FROM noetl.outbox")
        finally:
            await transaction.rollback()

    assert sorted(map(tuple, found)) == [("PARKED", number), ("PENDING", -number)]


async def test_the_oldest_row_is_the_one_committed_first(rows: Rows, store: Store) -> None:
    """Not the first by number or by its next try, which every failure moves on."""
    await rows.commit(rows.event(1, outbox_id=7), age_seconds=5)
    await rows.commit(rows.event(2, outbox_id=8), age_seconds=600)
    await rows.pool.execute(
        "UPDATE noetl.outbox SET status = 'FAILED', available_at = now() + interval '1 minute'"
        " WHERE event_id = 2"
    )

    assert 599 < (await store.measure())["oldest_seconds"] < 660


async def test_a_row_that_is_put_back_waits_from_then_on(rows: Rows, store: Store) -> None:
    command = rows.command(1)
    await rows.commit(command, age_seconds=600)
    await publish(rows, command, EARLIER, 5)

    assert await store.return_lost_commands(await as_it_is(store)) == 1

    assert (await store.measure())["oldest_seconds"] < 60
