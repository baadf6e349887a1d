"""Lists of executions: each filter is read from an index, and each entry is on one page."""

from datetime import UTC, datetime, timedelta
from typing import Any

from noetl_common.pg.database import Database
from noetl_common.pg.queries import Queries
from noetl_projector.executions.store import ExecutionStore, Wanted

from services.projector.tests.conftest import Pool

QUERIES = Queries.load("noetl_projector.executions")
STATUSES = "ARRAY['RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED']"
BEGIN = datetime(2026, 5, 1, tzinfo=UTC)


PLANS = [
    ("list_newest", "", "idx_execution_state_started"),
    ("list_of_status", ", 'FAILED'", "idx_execution_state_status"),
    ("list_of_parent", f", 7, {STATUSES}, NULL, NULL, NULL", "idx_execution_state_children"),
    ("list_of_catalog", f", 7, {STATUSES}, NULL, NULL", "idx_execution_state_catalog"),
    ("list_of_paths", f", {STATUSES}, 'x', NULL", "idx_execution_state_path"),
]


async def test_f9_a_list_reads_no_more_of_an_index_than_its_page(pool: Pool) -> None:
    """One plan for all values, made of tables that nothing is known of."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "DELETE FROM pg_statistic WHERE starelid = 'noetl.execution_state'::REGCLASS"
        )
        for way in ("seqscan", "bitmapscan"):
            await connection.execute(f"SET LOCAL enable_{way} = off")
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        for statement, filters, index in PLANS:
            await connection.execute(f"PREPARE list AS {QUERIES[statement]}")
            rows = await connection.fetch(f"EXPLAIN EXECUTE list (now(), 5, 50, 0{filters})")
            await connection.execute("DEALLOCATE list")
            plan = "\n".join(row[0] for row in rows)
            assert index in plan, plan
            assert "Seq Scan" not in plan, plan


async def _add(pool: Pool, first: int, count: int) -> None:
    """Executions of a few paths, versions, statuses and parents; several begin at one time."""
    await pool.execute(
        """
        INSERT INTO noetl.execution_state (
            execution_id, catalog_id, path, version, status, position, started_at, ended_at,
            parent_execution_id
        )
        SELECT
            i, i % 4, 'team' || i % 2 || '/part' || i % 4, 1,
            (ARRAY['COMPLETED', 'RUNNING', 'FAILED'])[1 + i % 3], 1,
            $3::TIMESTAMPTZ + make_interval(secs => i / 3), NULL,
            CASE WHEN i % 5 = 0 THEN 1 END
        FROM generate_series($1::BIGINT, $1::BIGINT + $2::BIGINT - 1) AS i
        """,
        first,
        count,
        BEGIN,
    )


FILTERS: list[dict[str, Any]] = [
    {},
    {"status": "FAILED"},
    {"status": "GONE"},
    {"catalog_id": 3},
    {"catalog_id": 3, "status": "RUNNING"},
    {"catalog_id": 3, "path_part": "PART3", "stems": ["team1"]},
    {"catalog_id": 3, "path_part": "part2"},
    {"catalog_id": 3, "stems": ["team0"]},
    {"path_part": "PART1"},
    {"path_part": "part", "status": "COMPLETED"},
    {"path_part": "nothing"},
    {"stems": ["team1"]},
    {"stems": ["team"]},
    {"parent_id": 1},
    {"parent_id": 1, "status": "FAILED", "stems": ["team0/part2"]},
]


async def test_f9_pages_behind_an_execution_hold_each_one_once_while_others_begin(
    pool: Pool, db: Database
) -> None:
    store = ExecutionStore(db)
    await _add(pool, 1000, 120)
    fresh = 2000
    for filters in FILTERS:
        expected = _by_hand(filters)
        seen: list[int] = []
        begin: datetime | None
        after, begin = 0, BEGIN + timedelta(seconds=374)
        while page := await store.list_states(
            Wanted(limit=7, after=after, after_started_at=begin, **filters)
        ):
            seen += [one.execution_id for one in page]
            after, begin = seen[-1], None
            await _add(pool, fresh, 10)
            fresh += 10
        assert seen == expected, filters


async def test_an_execution_that_is_gone_is_a_place_in_the_list_by_the_time_in_its_id(
    pool: Pool, db: Database
) -> None:
    store = ExecutionStore(db)
    await _add(pool, 1000, 12)
    moment = BEGIN + timedelta(seconds=335)
    gone = (int(moment.timestamp() * 1000) - 1_704_067_200_000) << 22

    page = await store.list_states(Wanted(limit=50, after=gone))

    assert [one.execution_id for one in page] == list(range(1007, 999, -1))


def _by_hand(filters: dict[str, Any]) -> list[int]:
    stems = filters.get("stems")
    found = []
    for i in range(1000, 1120):
        path = f"team{i % 2}/part{i % 4}"
        status = ("COMPLETED", "RUNNING", "FAILED")[i % 3]
        if (
            filters.get("status") in {None, status}
            and filters.get("catalog_id") in {None, i % 4}
            and str(filters.get("path_part", "")).lower() in path
            and ("parent_id" not in filters or i % 5 == 0)
            and (stems is None or any(f"{path}/".startswith(f"{one}/") for one in stems))
        ):
            found.append(i)
    return sorted(found, key=lambda i: (i // 3, i), reverse=True)
