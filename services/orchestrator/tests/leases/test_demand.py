"""The demand for workers, counted in the table of commands."""

import asyncpg
from noetl_contract.http.workers.pauses import PauseTarget
from noetl_contract.rpc.orchestrator import DemandQuery
from noetl_pg.sql.queries import Queries
from noetl_testkit.postgres import Database

from services.orchestrator.tests.messages import Command
from services.orchestrator.tests.shard import Replica, Shard


async def demand(replica: Replica, pool: str | None = None) -> dict[str, tuple[int, int]]:
    answer = await replica.rooms.demand.on_demand(DemandQuery(pool=pool))
    return {one.pool: (one.waiting, one.running) for one in answer.pools}


async def test_commands_wait_run_and_end(shard: Shard, replica: Replica, held: Command) -> None:
    for _ in range(2):
        await shard.start(execution_pool="gpu")

    assert await demand(replica) == {"gpu": (2, 0), "shared": (0, 1)}
    assert await demand(replica, "shared") == {"shared": (0, 1)}
    assert await demand(replica, "none") == {}
    (gpu,) = (await replica.rooms.demand.on_demand(DemandQuery(pool="gpu"))).pools
    assert 0 < gpu.oldest_seconds < 60

    await shard.pool.execute("UPDATE noetl.command SET lease_until = NULL WHERE pool = 'shared'")
    assert await demand(replica, "shared") == {}, "its tool waits for a callback"

    await shard.send(held.execution_id, {"type": "cancel", "execution_id": held.execution_id})
    assert await demand(replica) == {"gpu": (2, 0)}


async def test_what_a_pause_withholds_has_no_age(shard: Shard, replica: Replica) -> None:
    """It is demand, but no worker is late with it."""

    async def ages() -> dict[str, tuple[int, bool]]:
        answer = await replica.rooms.demand.on_demand(DemandQuery())
        return {one.pool: (one.waiting, one.oldest_seconds > 0) for one in answer.pools}

    for pool in ("gpu", "etl"):
        await shard.start(execution_pool=pool)
    path = await shard.pool.fetchval("SELECT path FROM noetl.execution_state LIMIT 1")
    pauses = replica.rooms.pauses

    pauses.update(
        [PauseTarget(kind="pool", name="gpu"), PauseTarget(kind="path", name="elsewhere")]
    )
    assert await ages() == {"gpu": (1, False), "etl": (1, True)}

    for paused in (path, path.rpartition("/")[0]):
        pauses.update([PauseTarget(kind="path", name=paused)])
        assert await ages() == {"gpu": (1, False), "etl": (1, False)}


async def test_commands_that_have_ended_are_not_read(database: Database) -> None:
    """A plan made on empty tables is kept for long; it must not hold a scan of all commands."""
    connection = await asyncpg.connect(database.dsn)
    try:
        await connection.execute("TRUNCATE noetl.command")
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        statement = Queries.load("noetl_orchestrator.leases", "demand.sql")["count_open_commands"]
        await connection.execute(f"PREPARE demand AS {statement}")
        plan = await connection.fetch("EXPLAIN EXECUTE demand (NULL, 10, '{}', '{a}')")
    finally:
        await connection.close()

    assert [row[0] for row in plan if "Seq Scan" in row[0]] == []
