"""The read model is rebuilt while the system runs (P3)."""

import asyncio
from typing import Any

from noetl_contract.http.system.internal import AdvanceAnswer, RebuildAnswer
from noetl_contract.rpc.projector import AdvanceExecutions, RebuildPage
from noetl_projector.projection.handlers import ProjectionHandlers
from noetl_projector.projection.store import ProjectionStore
from noetl_testkit.postgres import Database

from services.projector.tests.conftest import AddLog, Pool, make_settings

STARTED = {"event_type": "playbook_started", "node": "playbook"}
ENDED = {"event_type": "playbook.completed", "node": "playbook"}
EXECUTIONS = list(range(1, 8))


async def rows(pool: Pool) -> list[tuple[Any, ...]]:
    found = await pool.fetch(
        "SELECT execution_id, status, position, last_event_type, path FROM noetl.execution"
        " ORDER BY execution_id"
    )
    return [tuple(row) for row in found]


async def counters(pool: Pool) -> dict[str, int]:
    found = await pool.fetch(
        "SELECT status, executions FROM noetl.execution_counter WHERE executions <> 0"
    )
    return {row["status"]: row["executions"] for row in found}


async def walk(rebuild: ProjectionStore, *, limit: int) -> int:
    after, pages = None, 0
    while True:
        page = await rebuild.rebuild_page(after=after, limit=limit)
        pages += 1
        after = page.after
        if after is None:
            await rebuild.recount()
            return pages


async def fill(store: ProjectionStore, add_log: AddLog) -> None:
    for number in EXECUTIONS:
        events = [STARTED, ENDED] if number % 2 else [STARTED]
        await add_log(number, events, status="COMPLETED" if number % 2 else "RUNNING")
    await store.move_executions(EXECUTIONS)


async def test_wrong_missing_and_left_over_rows_are_made_right(
    pool: Pool, store: ProjectionStore, add_log: AddLog
) -> None:
    await fill(store, add_log)
    right = (await rows(pool), await counters(pool))
    await pool.execute(
        "UPDATE noetl.execution SET status = 'FAILED', path = 'x' WHERE execution_id = 1"
    )
    await pool.execute("DELETE FROM noetl.execution WHERE execution_id = 2")
    await pool.execute("UPDATE noetl.execution_counter SET executions = 99")
    for stray in (-5, 99):
        await pool.execute(
            "INSERT INTO noetl.execution (execution_id, catalog_id, status, position)"
            " VALUES ($1, 1, 'COMPLETED', 1)",
            stray,
        )

    pages = await walk(store, limit=3)

    assert pages == 3
    assert (await rows(pool), await counters(pool)) == right
    assert right[1] == {"COMPLETED": 4, "RUNNING": 3}


async def test_a_second_rebuild_changes_nothing(
    pool: Pool, store: ProjectionStore, add_log: AddLog
) -> None:
    await fill(store, add_log)
    before = (await rows(pool), await counters(pool))

    await walk(store, limit=100)
    await walk(store, limit=1)

    assert (await rows(pool), await counters(pool)) == before


async def test_what_goes_on_meanwhile_is_neither_lost_nor_counted_twice(
    pool: Pool, store: ProjectionStore, add_log: AddLog
) -> None:
    await fill(store, add_log)
    done = asyncio.Event()

    async def keep_rebuilding() -> int:
        rounds = 0
        while not done.is_set():
            await walk(store, limit=2)
            rounds += 1
        return rounds

    rebuilding = asyncio.create_task(keep_rebuilding())
    for number in range(8, 60):
        await add_log(number, [STARTED])
        await store.move_executions([number])
        await add_log(number, [STARTED, ENDED], status="COMPLETED")
        await store.move_executions([number, *EXECUTIONS])
    done.set()
    rounds = await rebuilding
    await walk(store, limit=1000)

    assert rounds > 0
    assert await counters(pool) == {"COMPLETED": 4 + 52, "RUNNING": 3}
    assert [row[2] for row in (await rows(pool))[7:]] == [2] * 52


async def test_a_row_ahead_of_its_state_is_left_alone(
    pool: Pool, store: ProjectionStore, add_log: AddLog
) -> None:
    """The state is read before the row is locked: the projection may have been faster."""
    await fill(store, add_log)
    await pool.execute("UPDATE noetl.execution SET position = 50 WHERE execution_id = 3")

    await store.rebuild_page(after=None, limit=100)

    assert (await rows(pool))[2][2] == 50


async def test_requests_advance_what_is_behind_and_rebuild_page_by_page(
    database: Database, store: ProjectionStore, add_log: AddLog
) -> None:
    handlers = ProjectionHandlers(store, settings=make_settings(database))
    for number in EXECUTIONS:
        await add_log(number, [STARTED])

    named = await handlers.on_advance(AdvanceExecutions(execution_ids=[1, 2, 404]))
    rest = await handlers.on_advance(AdvanceExecutions())
    none = await handlers.on_advance(AdvanceExecutions())
    first = await handlers.on_rebuild(RebuildPage(limit=5))
    last = await handlers.on_rebuild(RebuildPage(limit=5, after=first.after))

    assert named == AdvanceAnswer(advanced=2, checked=3)
    assert rest == AdvanceAnswer(advanced=5, checked=5)
    assert none == AdvanceAnswer(advanced=0, checked=0)
    assert first == RebuildAnswer(rewritten=5, removed=0, after=5)
    assert last == RebuildAnswer(rewritten=2, removed=0, after=None)


async def test_rebuilds_that_end_at_once_count_one_after_the_other(
    pool: Pool, store: ProjectionStore, add_log: AddLog
) -> None:
    await fill(store, add_log)
    right = await counters(pool)

    await asyncio.gather(*(store.recount() for _ in range(6)))

    assert await counters(pool) == right
