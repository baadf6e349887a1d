"""W11: an iteration costs the same, however many were before it."""

import asyncpg
from noetl_testkit.waiting import eventually

from services.orchestrator.tests.messages import Command
from services.orchestrator.tests.playbooks import LOOP
from services.orchestrator.tests.shard import Shard

_SEQUENTIAL = LOOP.replace("{mode: parallel}", "{mode: sequential}")
_MEASURED = 40


async def test_w11_an_iteration_reads_as_much_late_as_early(
    shard: Shard,
) -> None:
    await shard.open_replica()
    items = list(range(2000))
    execution_id = await shard.start(_SEQUENTIAL, payload={"items": items})
    await _iterate(shard, execution_id, 100)

    # The server looks at the tables from time to time, and makes its plans anew then.
    await shard.pool.execute("ANALYZE")
    early = await _rows_read(shard, execution_id)
    await _iterate(shard, execution_id, 300)
    await shard.pool.execute("ANALYZE")
    late = await _rows_read(shard, execution_id)

    # The state, the command that ends, at times a snapshot, and the row that the test reads.
    assert 0 < early < 1.5
    assert 0 < late < 1.5


async def _iterate(shard: Shard, execution_id: int, count: int) -> None:
    """Run iterations of the loop, as a worker that reports each in one message."""
    for _ in range(count):
        # It reads one row: what the test reads is counted too.
        row = await shard.pool.fetchrow(
            "SELECT event_id, node_name, event_type, meta FROM noetl.event"
            " WHERE execution_id = $1 ORDER BY position DESC LIMIT 1",
            execution_id,
        )
        assert row["event_type"] == "command.issued"
        command = Command(
            execution_id, row["event_id"], row["meta"]["command_id"], row["node_name"]
        )
        answer = await shard.send(execution_id, shard.fast(command))
        assert answer["status"] == "ok"


async def _rows_read(shard: Shard, execution_id: int) -> float:
    """Return how many rows of tables the server reads for each event that is appended."""
    before = await _counted(shard)

    async def enough() -> bool:
        # The server counts a second's work at the next commit, so there has to be one.
        await _iterate(shard, execution_id, 1)
        return (await _counted(shard))["appended"] >= before["appended"] + 5 * _MEASURED

    await eventually(enough, what="the server has counted", every_seconds=0.02)
    after = await _counted(shard)
    return float((after["read"] - before["read"]) / (after["appended"] - before["appended"]))


async def _counted(shard: Shard) -> asyncpg.Record:
    row = await shard.pool.fetchrow(
        "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) AS read,"
        " sum(n_tup_ins) FILTER (WHERE relname LIKE 'event_%') AS appended"
        " FROM pg_stat_user_tables WHERE schemaname = 'noetl'"
    )
    assert row is not None
    return row
