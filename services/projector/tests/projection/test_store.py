"""The read model follows the log, independent of the messages (P1)."""

import asyncio
from datetime import timedelta

import pytest
from noetl_pg.database import Database
from noetl_pg.sql.queries import Queries
from noetl_projector.projection.follower import execution_of_subject
from noetl_projector.projection.store import ProjectionStore
from noetl_projector.projection.sweep import sweep

from services.projector.tests.conftest import AddLog, Pool

STARTED = {"event_type": "playbook_started"}
ENDED = {"event_type": "playbook.completed", "node": "playbook"}


async def rows_of(pool: Pool) -> dict[int, tuple[str, int]]:
    rows = await pool.fetch("SELECT execution_id, status, position FROM noetl.execution")
    return {row["execution_id"]: (row["status"], row["position"]) for row in rows}


async def counters_of(pool: Pool) -> dict[tuple[str, str], int]:
    rows = await pool.fetch("SELECT path, status, executions FROM noetl.execution_counter")
    return {(row["path"], row["status"]): row["executions"] for row in rows if row["executions"]}


async def test_p1_a_message_moves_the_row_to_where_the_log_is(
    store: ProjectionStore, pool: Pool, add_log: AddLog
) -> None:
    await add_log(1, [STARTED])
    await store.move_executions([1])
    await add_log(1, [STARTED, ENDED], status="COMPLETED")

    moved = await store.move_executions([1])

    assert moved == 1
    assert await rows_of(pool) == {1: ("COMPLETED", 2)}
    assert await counters_of(pool) == {("tests/x", "COMPLETED"): 1}


async def test_p1_a_repeated_message_changes_nothing(
    store: ProjectionStore, pool: Pool, add_log: AddLog
) -> None:
    await add_log(1, [STARTED])
    await store.move_executions([1])

    assert await store.move_executions([1]) == 0
    assert await counters_of(pool) == {("tests/x", "RUNNING"): 1}


async def test_p1_concurrent_projectors_count_each_execution_once(
    store: ProjectionStore, pool: Pool, add_log: AddLog
) -> None:
    for execution_id in range(1, 41):
        await add_log(execution_id, [STARTED])

    await asyncio.gather(*(store.move_executions(range(1, 41)) for _ in range(4)))
    begun = await counters_of(pool)
    for execution_id in range(1, 41):
        await add_log(execution_id, [STARTED, ENDED], status="COMPLETED")
    await asyncio.gather(*(store.move_executions(range(1, 41)) for _ in range(4)))

    assert begun == {("tests/x", "RUNNING"): 40}
    assert await counters_of(pool) == {("tests/x", "COMPLETED"): 40}


async def test_p2_sweep_finds_what_no_message_told_of(
    store: ProjectionStore, pool: Pool, add_log: AddLog
) -> None:
    await add_log(1, [STARTED])
    await store.move_executions([1])
    await add_log(1, [STARTED, ENDED], status="COMPLETED")
    await add_log(2, [STARTED])
    await add_log(3, [STARTED, ENDED], status="COMPLETED")
    await pool.execute(
        "UPDATE noetl.execution_state SET ended_at = now() - interval '1 day'"
        " WHERE execution_id = 3"
    )
    ended_after = await store.read_clock() - timedelta(hours=1)

    assert await sweep(store, ended_after=ended_after, limit=1) == 2
    assert await rows_of(pool) == {1: ("COMPLETED", 2), 2: ("RUNNING", 1)}
    assert await sweep(store, ended_after=ended_after, limit=10) == 0


async def test_a_move_does_not_wait_for_the_disk(
    store: ProjectionStore, pool: Pool, add_log: AddLog
) -> None:
    await add_log(1, [STARTED])
    await store.move_executions([1])
    add = Queries.load("noetl_projector.projection")["add_missing_executions"]
    async with pool.acquire() as connection:
        async with connection.transaction():
            await connection.execute(add, [1])
            assert await connection.fetchval("SHOW synchronous_commit") == "off"
        assert await connection.fetchval("SHOW synchronous_commit") == "on"


async def test_p2_the_look_for_lagging_rows_reads_running_and_lately_ended_ones_only(
    pool: Pool,
) -> None:
    find = Queries.load("noetl_projector.projection")["find_lagging"]
    async with pool.acquire() as connection, connection.transaction():
        # The tables are empty: the plan shows the possible, not the cheapest way.
        for way in ("seqscan", "bitmapscan"):
            await connection.execute(f"SET LOCAL enable_{way} = off")
        await connection.execute(f"PREPARE look AS {find}")
        rows = await connection.fetch("EXPLAIN EXECUTE look (now(), 100)")
        await connection.execute("DEALLOCATE look")
    plan = "\n".join(row[0] for row in rows)

    assert "idx_execution_state_running" in plan, plan
    assert "idx_execution_state_ended" in plan, plan
    assert "execution_state_pkey" not in plan, plan


async def test_steps_with_few_rows_behind_them_are_left_to_their_readers(
    db: Database, pool: Pool, add_log: AddLog
) -> None:
    store = ProjectionStore(db, few_rows=3)
    asked = "SELECT position, steps_position FROM noetl.execution WHERE execution_id = 1"
    await add_log(1, [STARTED, ENDED], status="COMPLETED")
    assert await store.move_executions([1]) == 1
    assert tuple(await pool.fetchrow(asked)) == (2, 0)
    assert await store.move_executions([1]) == 0

    await add_log(1, [STARTED, STARTED, STARTED, ENDED], status="COMPLETED")
    assert await store.move_executions([1]) == 1
    assert tuple(await pool.fetchrow(asked)) == (4, 4)
    assert await store.move_executions([1]) == 0


async def test_an_unknown_execution_is_left_alone(store: ProjectionStore, pool: Pool) -> None:
    assert await store.move_executions([12345]) == 0
    assert await rows_of(pool) == {}


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("noetl_commits.0.42", 42),
        ("noetl_commits.3.-42", -42),
        ("noetl_commits.0.none", None),
        ("nonsense", None),
    ],
)
def test_execution_is_read_from_the_subject(subject: str, expected: int | None) -> None:
    assert execution_of_subject(subject) == expected
