"""Partitions are created ahead, and dropped only when they are not needed (S3)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from noetl_common.ids import SnowflakeIds, time_of_id_ms
from noetl_contract.rpc.orchestrator import LogPurged, LogPurgeRequest
from noetl_orchestrator.log.retention import Retention, first_id_of, next_halves
from noetl_pg.database import Database
from noetl_pg.pool import Pool, open_pool
from noetl_testkit import postgres
from prometheus_client import REGISTRY

from services.orchestrator.tests.shard import settings_for

OLD = first_id_of(datetime(2025, 3, 1, tzinfo=UTC))
LONG_AGO = datetime(2025, 3, 2, tzinfo=UTC)
CUTOFF = datetime(2026, 2, 1, tzinfo=UTC)
# What belongs to an execution.
TABLES = (
    "event",
    "command",
    "execution_state",
    "execution_snapshot",
    "execution",
    "execution_step",
    "timer",
    "outbox",
    "result_store",
    "transient",
    "child",
)


@pytest.fixture
async def pool(database: postgres.Database) -> AsyncIterator[Pool]:
    settings = settings_for("nats://unused", database, postgres_pool_min=1, postgres_pool_max=4)
    async with open_pool(settings, name="test") as opened:
        yield opened


@pytest.fixture
def retention(pool: Pool) -> Retention:
    return Retention(Database(pool))


async def names(pool: Pool, parent: str = "event") -> set[str]:
    rows = await pool.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
        " WHERE inhparent = ('noetl.' || $1::text)::regclass",
        parent,
    )
    return {row["name"].removeprefix("noetl.") for row in rows}


async def add(pool: Pool, execution_id: int, *, ended_at: datetime | None = LONG_AGO) -> None:
    status = "RUNNING" if ended_at is None else "COMPLETED"
    await pool.execute(
        "INSERT INTO noetl.execution_state (execution_id, catalog_id, path, version, position,"
        " status, ended_at) VALUES ($1, 1, 'p', 1, 1, $2, $3)",
        execution_id,
        status,
        ended_at,
    )
    await pool.execute(
        "INSERT INTO noetl.execution (execution_id, catalog_id, path, status, position)"
        " VALUES ($1, 1, 'p', $2, 1)",
        execution_id,
        status,
    )
    await pool.execute(
        "INSERT INTO noetl.execution_counter VALUES ('p', $1, 1)"
        " ON CONFLICT (path, status) DO UPDATE SET executions = execution_counter.executions + 1",
        status,
    )
    await pool.execute(
        "INSERT INTO noetl.event (execution_id, catalog_id, event_id, position)"
        " VALUES ($1, 1, 1, 1)",
        execution_id,
    )
    await pool.execute(
        "INSERT INTO noetl.command (command_id, event_id, execution_id, catalog_id, step_name,"
        " status, completed_at) VALUES ($1, $1, $1, 1, 's', 'COMPLETED', $2)",
        execution_id,
        ended_at,
    )
    await pool.execute(
        "INSERT INTO noetl.result_store (result_id, execution_id, name, scope, data, bytes, sha256)"
        " VALUES ($1, $1, 'n', 's', '1', 1, '')",
        execution_id,
    )
    await pool.execute(
        "INSERT INTO noetl.outbox (execution_id, event_id, status) VALUES ($1, 1, 'PUBLISHED')",
        execution_id,
    )
    await pool.execute(
        "INSERT INTO noetl.execution_snapshot (execution_id, position, format, state)"
        " VALUES ($1, 1, 1, '')",
        execution_id,
    )
    await pool.execute(
        "INSERT INTO noetl.timer (timer_id, execution_id, due_at, kind)"
        " VALUES ($1, $1, now(), 'k')",
        execution_id,
    )
    await pool.execute(
        "INSERT INTO noetl.execution_step (execution_id, step, first_position, position)"
        " VALUES ($1, 's', 1, 1)",
        execution_id,
    )
    await pool.execute(
        "INSERT INTO noetl.transient (execution_id, var_name, var_type, var_value)"
        " VALUES ($1, 'v', 'user_defined', '1')",
        execution_id,
    )
    await pool.execute(
        "INSERT INTO noetl.child (execution_id, event_id, child_id, path, payload_digest, run)"
        " VALUES ($1, 1, 2, 'p', '', 1)",
        execution_id,
    )


async def count(pool: Pool, table: str, execution_id: int) -> int:
    found: int = await pool.fetchval(
        f"SELECT count(*) FROM noetl.{table} WHERE execution_id = $1", execution_id
    )
    return found


def test_half_years_follow_each_other_without_gaps() -> None:
    start = first_id_of(datetime(2028, 1, 1, tzinfo=UTC))

    halves = next_halves(start, until=datetime(2029, 3, 1, tzinfo=UTC))

    assert [name for name, _, _ in halves] == ["2028_h1", "2028_h2", "2029_h1"]
    assert [lower for _, lower, _ in halves[1:]] == [upper for _, _, upper in halves[:-1]]
    assert halves[0][1] == start
    assert next_halves(start, until=datetime(2027, 12, 31, tzinfo=UTC)) == []


def test_bounds_are_those_of_the_id_generator() -> None:
    moment = datetime(2028, 7, 1, tzinfo=UTC)
    generator = SnowflakeIds(1023, clock=lambda: int(moment.timestamp() * 1000))

    assert first_id_of(moment) <= generator.next()
    assert time_of_id_ms(first_id_of(moment)) == int(moment.timestamp() * 1000)


async def test_missing_partitions_are_made_and_used(pool: Pool, retention: Retention) -> None:
    until = datetime(2028, 9, 1, tzinfo=UTC)

    added = await retention.add_partitions(until=until)
    again = await retention.add_partitions(until=until)
    await add(pool, first_id_of(until) + 1)

    assert sorted(added) == [
        "command_2028_h1",
        "command_2028_h2",
        "event_2028_h1",
        "event_2028_h2",
    ]
    assert again == []
    assert await pool.fetchval("SELECT count(*) FROM noetl.event_2028_h2") == 1
    assert await pool.fetchval("SELECT count(*) FROM noetl.command_2028_h2") == 1
    assert await retention.count_default(up_to=10) == 0
    with pytest.raises(asyncpg.UniqueViolationError):
        await pool.execute(
            "INSERT INTO noetl.event (execution_id, catalog_id, event_id, position)"
            " VALUES ($1, 1, 2, 1)",
            first_id_of(until) + 1,
        )


async def test_rows_beyond_all_partitions_are_counted(pool: Pool, retention: Retention) -> None:
    await add(pool, first_id_of(datetime(2040, 1, 1, tzinfo=UTC)))

    assert await retention.count_default(up_to=10) == 1


async def test_rows_whose_partition_was_late_are_moved_into_it(
    pool: Pool, retention: Retention
) -> None:
    """Otherwise they would be in the way of that partition, and of all after it."""
    now = await retention.read_clock()
    later = datetime(2030, 1, 1, tzinfo=UTC)
    early, beyond = first_id_of(datetime(2028, 2, 1, tzinfo=UTC)), first_id_of(later)
    await add(pool, early)
    await add(pool, beyond)
    assert await retention.count_default(up_to=10) == 2

    await retention.keep_partitions(ahead_days=(datetime(2028, 3, 1, tzinfo=UTC) - now).days)

    assert await count(pool, "event_2028_h1", early) == await count(pool, "event", beyond) == 1
    assert await count(pool, "command_2028_h1", early) == 1
    assert REGISTRY.get_sample_value("noetl_event_default_rows") == 1


async def test_an_old_partition_goes_with_all_that_belongs_to_it(
    pool: Pool, retention: Retention
) -> None:
    await add(pool, OLD)
    await add(pool, OLD + 1)
    young = first_id_of(datetime(2026, 8, 1, tzinfo=UTC))
    await add(pool, young)

    dropped = await retention.drop_partitions(ended_before=CUTOFF)

    assert dropped == ["event_pre_2026"]
    assert "event_pre_2026" not in await names(pool)
    assert "command_pre_2026" not in await names(pool, "command")
    assert {table: await count(pool, table, OLD) for table in TABLES} == dict.fromkeys(TABLES, 0)
    assert {table: await count(pool, table, young) for table in TABLES} == dict.fromkeys(TABLES, 1)
    assert await pool.fetchval("SELECT executions FROM noetl.execution_counter") == 1
    assert await retention.drop_partitions(ended_before=CUTOFF) == []


@pytest.mark.parametrize("ended_at", [None, CUTOFF + timedelta(seconds=1)], ids=["runs", "lately"])
async def test_a_partition_with_a_needed_execution_stays_whole(
    pool: Pool, retention: Retention, ended_at: datetime | None
) -> None:
    await add(pool, OLD)
    await add(pool, OLD + 1, ended_at=ended_at)

    assert await retention.drop_partitions(ended_before=CUTOFF) == []
    assert await count(pool, "event", OLD) == await count(pool, "execution_state", OLD) == 1


async def test_the_origin_of_a_restarted_execution_stays_for_as_long_as_that(
    pool: Pool, retention: Retention
) -> None:
    """Its large results are still read."""
    young = first_id_of(datetime(2026, 8, 1, tzinfo=UTC))
    await add(pool, OLD)
    await add(pool, young, ended_at=None)
    await pool.execute("INSERT INTO noetl.restart VALUES ($1, $2)", young, OLD)

    kept = await retention.drop_partitions(ended_before=CUTOFF)
    await pool.execute("UPDATE noetl.execution_state SET ended_at = $1", LONG_AGO)

    assert kept == []
    assert await retention.drop_partitions(ended_before=CUTOFF) == ["event_pre_2026"]


@pytest.mark.parametrize("status", ["PENDING", "FAILED", "IN_FLIGHT"])
async def test_what_is_still_to_be_published_keeps_its_partition(
    pool: Pool, retention: Retention, status: str
) -> None:
    await add(pool, OLD)
    await pool.execute("UPDATE noetl.outbox SET status = $1", status)

    assert await retention.drop_partitions(ended_before=CUTOFF) == []
    assert await count(pool, "event", OLD) == await count(pool, "outbox", OLD) == 1


async def test_an_open_subscription_keeps_its_partition(pool: Pool, retention: Retention) -> None:
    await pool.execute(
        "INSERT INTO noetl.subscription (subscription_id, path, catalog_id, state,"
        " last_event_type, updated_at) VALUES ($1, 'p', 1, 'ACTIVE', 't', $2)",
        OLD,
        LONG_AGO,
    )

    assert await retention.drop_partitions(ended_before=CUTOFF) == []


async def test_no_transaction_waits_long_for_a_locked_log(pool: Pool, retention: Retention) -> None:
    await add(pool, OLD)
    async with pool.acquire() as reader, reader.transaction():
        await reader.execute("LOCK TABLE noetl.event IN ACCESS SHARE MODE")
        assert await retention.drop_partitions(ended_before=CUTOFF) == []

    assert await retention.drop_partitions(ended_before=CUTOFF) == ["event_pre_2026"]


async def test_a_purge_removes_old_commands_only(pool: Pool, retention: Retention) -> None:
    now = await retention.read_clock()
    await add(pool, 1, ended_at=now - timedelta(days=8))
    await add(pool, 2, ended_at=now - timedelta(days=6))
    await add(pool, 3, ended_at=None)

    kept, done = [
        await retention.purge(LogPurgeRequest(command_retention_days=days), commands_at_once=100)
        for days in (0, 7)
    ]

    assert kept == LogPurged(commands_purged=0, event_partitions_dropped=[])
    assert done == LogPurged(commands_purged=1, event_partitions_dropped=[])
    rows = await pool.fetch("SELECT execution_id FROM noetl.command ORDER BY 1")
    assert [row["execution_id"] for row in rows] == [2, 3]


async def test_s8_what_no_archive_has_as_it_is_stays(pool: Pool) -> None:
    """With the setting: an execution that moved after it was written down, or was not, is kept."""
    archiving = Retention(Database(pool), archived_only=True)
    await add(pool, OLD)
    await add(pool, OLD + 1)
    await pool.execute(
        "UPDATE noetl.execution_state SET archived_position = position WHERE execution_id = $1", OLD
    )
    assert await archiving.drop_partitions(ended_before=CUTOFF) == []
    await pool.execute("UPDATE noetl.execution_state SET archived_position = position")
    await pool.execute(
        "UPDATE noetl.execution_state SET position = position + 1 WHERE execution_id = $1", OLD
    )
    assert await archiving.drop_partitions(ended_before=CUTOFF) == []
    assert await count(pool, "event", OLD) == 1
    await pool.execute("UPDATE noetl.execution_state SET archived_position = position")
    assert await archiving.drop_partitions(ended_before=CUTOFF) == ["event_pre_2026"]
    assert await count(pool, "event", OLD) == 0
