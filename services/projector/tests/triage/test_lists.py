"""Lists of failures: each filter is read from an index, and finds what it names."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from noetl_pg.database import Database
from noetl_pg.sql.queries import Queries
from noetl_projector.triage.failures import FailureStore

from services.projector.tests.conftest import Pool

STATES = ["open", "dismissed", "restarted", "all"]
BEGIN = datetime(2026, 5, 1, tzinfo=UTC)
LONG = "x" * 600


@pytest.mark.parametrize("state", STATES)
async def test_f9_no_filter_reads_the_table(pool: Pool, state: str) -> None:
    """One plan for all values, made of a table that nothing is known of."""
    statement = Queries.load("noetl_projector.triage", "groups.sql")[f"group_{state}"]
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("DELETE FROM pg_statistic")
        for way in ("seqscan", "bitmapscan"):
            await connection.execute(f"SET LOCAL enable_{way} = off")
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE list AS {statement}")
        rows = await connection.fetch("EXPLAIN EXECUTE list ('x', 's', NULL, NULL, 10000, 100, 0)")
        await connection.execute("DEALLOCATE list")
    plan = "\n".join(row[0] for row in rows)
    assert "Seq Scan" not in plan, plan
    # Which of them, of indexes that are all empty, is by chance.
    for kind in ("path", "step"):
        assert re.search(rf"idx_failure_\w+_{kind} on", plan), plan


async def _add(pool: Pool) -> None:
    """Failures of a few paths and steps in all states; several at one time."""
    await pool.execute(
        """
        INSERT INTO noetl.failure (
            execution_id, path, version, step, kind, fingerprint, message, failed_at, dismissed_at,
            restarted_as
        )
        SELECT
            i, f.path, 1, f.step, 'tool', left(md5(f.path || coalesce(f.step, '')), 16), 'm' || i,
            $1::TIMESTAMPTZ + make_interval(secs => i / 3),
            CASE WHEN i % 4 = 1 THEN now() END,
            CASE WHEN i % 8 IN (1, 2) THEN 5 END
        FROM generate_series(1, 240) AS i
        CROSS JOIN LATERAL (
            SELECT
                (ARRAY['team0/a', '/team0/b', 'team1/C', 'team1/' || $2, 'team2'])[1 + i % 5]
                AS path,
                (ARRAY['load', 'save', NULL, $2 || 's'])[1 + i / 7 % 4] AS step
        ) AS f
        """,
        BEGIN,
        LONG,
    )


FILTERS: list[dict[str, Any]] = [
    {},
    {"step": "load"},
    {"step": LONG + "s"},
    {"step": "nothing"},
    {"since": BEGIN + timedelta(seconds=50)},
    {"path_part": "team"},
    {"path_part": "TEAM1"},
    {"path_part": "xxx"},
    {"path_part": "nothing"},
    {"path_part": "team0/a", "step": "save"},
    {"path_part": "team", "step": "save"},
    {"path_part": "team", "step": LONG + "s"},
    {"path_part": "team1", "step": LONG + "s"},
    {"stems": ["team1"]},
    {"stems": ["team0", "team1"], "since": BEGIN + timedelta(seconds=30)},
    {"stems": ["team"]},
    {"stems": []},
    {"stems": ["team0/b"], "path_part": "B", "step": "load"},
]


@pytest.mark.parametrize("looked_at", [10_000, 20])
@pytest.mark.parametrize("state", STATES)
async def test_f9_each_filter_groups_the_newest_failures_that_it_names(
    pool: Pool, db: Database, monkeypatch: pytest.MonkeyPatch, state: Any, looked_at: int
) -> None:
    monkeypatch.setattr("noetl_projector.triage.failures._LOOKED_AT", looked_at)
    store = FailureStore(db)
    await _add(pool)
    failures = [
        dict(row)
        for row in await pool.fetch(
            "SELECT * FROM noetl.failure ORDER BY failed_at DESC, execution_id DESC"
        )
    ]
    for filters in FILTERS:
        wanted = {"path_part": None, "step": None, "since": None, "stems": None, **filters}
        expected = _by_hand(failures, wanted, state, looked_at)
        for limit, offset in ((100, 0), (2, 0), (2, 2)):
            found = await store.group(state=state, limit=limit, offset=offset, **wanted)
            shown = [(one.fingerprint, one.failures, one.execution_ids) for one in found]
            assert shown == expected[offset : offset + limit], filters
            assert all(one.message == f"m{one.execution_ids[0]}" for one in found)


def _by_hand(
    failures: list[dict[str, Any]], wanted: dict[str, Any], state: str, looked_at: int
) -> list[tuple[str, int, list[int]]]:
    left = [
        one
        for one in failures
        if {
            "all": True,
            "open": one["dismissed_at"] is None and one["restarted_as"] is None,
            "dismissed": one["dismissed_at"] is not None,
            "restarted": one["restarted_as"] is not None,
        }[state]
        and (wanted["path_part"] or "").lower() in one["path"].lower()
        and wanted["step"] in {None, one["step"]}
        and (wanted["since"] is None or one["failed_at"] >= wanted["since"])
        and (
            wanted["stems"] is None
            or any(f"{one['path'].lstrip('/')}/".startswith(f"{s}/") for s in wanted["stems"])
        )
    ][:looked_at]
    groups: dict[str, list[int]] = {}
    times: dict[str, datetime] = {}
    for one in left:
        groups.setdefault(one["fingerprint"], []).append(one["execution_id"])
        times.setdefault(one["fingerprint"], one["failed_at"])
    order = sorted(sorted(groups), key=lambda name: times[name], reverse=True)
    return [(name, len(groups[name]), groups[name][:5]) for name in order]
