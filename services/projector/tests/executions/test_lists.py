"""Lists of executions: each filter is read from an index, and each entry is on one page."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from noetl_pg.database import Database
from noetl_pg.sql.queries import Queries
from noetl_projector.executions.store import ExecutionStore, Wanted

from services.projector.tests.conftest import Pool

STATUSES = "ARRAY['RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED']"
BEGIN = datetime(2026, 5, 1, tzinfo=UTC)


STATES = "noetl_projector.executions"
WAITS = "noetl_projector.waits"
PAGE = "now(), 5, 50, 0"
PLANS = [
    (STATES, "list_newest", PAGE, "idx_execution_state_started"),
    (STATES, "list_of_status", f"{PAGE}, 'FAILED'", "idx_execution_state_status"),
    (STATES, "list_of_parent", f"{PAGE}, 7, {STATUSES}, 1, 'x', NULL", "_state_children"),
    (STATES, "list_of_catalog", f"{PAGE}, 7, {STATUSES}, NULL, NULL", "_state_catalog"),
    (STATES, "list_of_paths", f"{PAGE}, {STATUSES}, 'x', NULL", "idx_execution_state_path"),
    (STATES, "list_near", f"{PAGE}, 'x', NULL, 500", "idx_execution_state_started"),
    (STATES, "list_near_of_status", f"{PAGE}, 'x', NULL, 500, 'FAILED'", "_state_status"),
    (STATES, "list_soft", f"{PAGE}, 'x', NULL, NULL, NULL, 10000", "idx_execution_state_status"),
    (WAITS, "list_all", "5, NULL, NULL, 50", "timer"),
    (WAITS, "list_for_signals", "5, NULL, NULL, 50", "timer"),
    (WAITS, "list_for_signal", "5, NULL, NULL, 50, 'go'", "idx_timer_signal"),
    (WAITS, "list_of", "5, NULL, NULL, 50, ARRAY[1], 'go', TRUE", "timer"),
    (WAITS, "find_open", "'a/%', NULL, 50", "idx_execution_state_path"),
]


async def test_f9_a_list_reads_no_more_of_an_index_than_its_page(pool: Pool) -> None:
    """One plan for all values, made of tables that nothing is known of."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("DELETE FROM pg_statistic")
        for way in ("seqscan", "bitmapscan"):
            await connection.execute(f"SET LOCAL enable_{way} = off")
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        for package, statement, arguments, index in PLANS:
            await connection.execute(f"PREPARE list AS {Queries.load(package)[statement]}")
            rows = await connection.fetch(f"EXPLAIN EXECUTE list ({arguments})")
            await connection.execute("DEALLOCATE list")
            plan = "\n".join(row[0] for row in rows)
            assert index in plan, f"{statement}: {plan}"
            assert "Seq Scan" not in plan, f"{statement}: {plan}"


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


@pytest.mark.parametrize("near", [500, 10, 0])
async def test_f9_pages_behind_an_execution_hold_each_one_once_while_others_begin(
    pool: Pool, db: Database, monkeypatch: pytest.MonkeyPatch, near: int
) -> None:
    """The same holds for pages found among the next executions and for those found by path."""
    monkeypatch.setattr("noetl_projector.executions.store._NEAR", near)
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


@pytest.mark.parametrize("filters", [{}, {"path_part": "part1"}, {"parent_id": 1}])
async def test_f9_times_bound_a_list_and_its_pages(
    pool: Pool, db: Database, filters: dict[str, Any]
) -> None:
    """From the first moment on, and up to the second one, whose executions are left out."""
    store = ExecutionStore(db)
    await _add(pool, 1000, 120)
    since, until = BEGIN + timedelta(seconds=340), BEGIN + timedelta(seconds=360)
    expected = [i for i in _by_hand(filters) if 340 <= i // 3 < 360]
    seen: list[int] = []
    after: int | None = None
    while page := await store.list_states(
        Wanted(limit=7, after=after, since=since, until=until, **filters)
    ):
        seen += [one.execution_id for one in page]
        after = seen[-1]

    assert seen == expected
    assert seen


async def test_completed_executions_with_errors_are_a_list(
    pool: Pool, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ExecutionStore(db)
    await _add(pool, 1000, 120)
    await pool.execute(
        "UPDATE noetl.execution_state SET soft_errors = 1 WHERE execution_id % 4 = 1"
    )
    soft = [i for i in _by_hand({"status": "COMPLETED"}) if i % 4 == 1]

    async def found(**filters: Any) -> list[int]:
        wanted = Wanted(limit=50, has_soft_errors=True, **filters)
        return [one.execution_id for one in await store.list_states(wanted)]

    assert await found() == soft
    assert await found(path_part="PART1", stems=["team1"]) == soft
    assert await found(catalog_id=2) == await found(status="FAILED") == []
    assert await found(parent_id=1) == [i for i in soft if i % 5 == 0]
    monkeypatch.setattr("noetl_projector.executions.store._SOFT_NEAR", 8)
    assert await found() == soft[:2]
    assert await found(after=soft[1]) == soft[2:4]


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
