"""A restarted execution takes over, from the database, what its origin has done."""

import pytest
from noetl_contract.json import Json
from noetl_engine.restart.origin import ORIGIN_TYPES
from noetl_orchestrator.log.origins import Origins
from noetl_pg.database import Database
from noetl_pg.sql.queries import Queries
from noetl_testkit.waiting import eventually

from services.orchestrator.tests.messages import Command
from services.orchestrator.tests.playbooks import LINEAR, LOOP
from services.orchestrator.tests.shard import Shard

MANY = LOOP.replace("[1, 2, 3]", str(list(range(150))))


async def fail(shard: Shard, command: Command) -> None:
    """Report that a command's tool raised."""
    event = shard.event(command, "command.failed", attempts=0, context={"error": "broke"})
    await shard.send(command.execution_id, event)


async def restart(shard: Shard, origin: int, playbook: str, **fields: Json) -> int:
    """Go on from an execution, whose id is on the same shard."""
    wanted: Json = {"execution_id": origin, **fields.pop("how", {})}
    return await shard.start(playbook, restart=wanted, **fields)


async def test_the_failed_iterations_of_a_large_loop_run_again(shard: Shard) -> None:
    """It is read in several pages, and taken over in several commits."""
    await shard.open_replica()
    origin = await shard.start(MANY)
    commands = await shard.open_commands(origin)
    for number, command in enumerate(commands):
        if number in {70, 71}:
            await fail(shard, command)
        else:
            await shard.send(origin, shard.fast(command, data={"data": number}))
    state = await shard.state(origin)
    assert state is not None
    assert state["status"] == "FAILED"

    again = await restart(shard, origin, MANY)
    await eventually(lambda: _is_restored(shard, again))
    rerun = await shard.open_commands(again)
    assert [command.command_id.rpartition(":i")[2] for command in rerun] == ["70", "71"]

    for command in rerun:
        await shard.send(again, shard.fast(command, data={"data": 1000}))
    last = await shard.command(again)
    issued = next(row for row in await shard.log(again) if row["event_id"] == last.event_id)
    gathered = issued["context"]["tool_config"]["args"]["all"]
    assert [entry["data"] for entry in gathered] == [
        1000 if number in {70, 71} else number for number in range(150)
    ]
    await shard.send(again, shard.fast(last))
    assert (await shard.types(again))[-1] == "playbook.completed"
    told = await shard.pool.fetchval(
        "SELECT origin_execution_id FROM noetl.restart WHERE execution_id = $1", again
    )
    assert told == origin


def test_all_the_rows_are_read_that_the_engine_looks_at() -> None:
    statement = Queries.load("noetl_orchestrator.log", "origins.sql")["read_runs"]

    assert all(f"'{kind}'" in statement for kind in ORIGIN_TYPES)


@pytest.mark.parametrize(
    ("statement", "arguments"),
    [("read_ends", "5, 70000"), ("read_runs", "5, 0, 70000, 300")],
)
async def test_an_origin_is_read_from_the_log_s_index(
    shard: Shard, statement: str, arguments: str
) -> None:
    """However long its log is: single rows, or pages of it."""
    origins = Queries.load("noetl_orchestrator.log", "origins.sql")
    async with shard.pool.acquire() as connection, connection.transaction():
        # The tables are empty: the plan shows the possible, not the cheapest way.
        for way in ("seqscan", "bitmapscan", "sort"):
            await connection.execute(f"SET LOCAL enable_{way} = off")
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE origin AS {origins[statement]}")
        rows = await connection.fetch(f"EXPLAIN EXECUTE origin ({arguments})")
        await connection.execute("DEALLOCATE origin")
    plan = "\n".join(row[0] for row in rows)

    assert "_execution_id_position_" in plan, plan
    assert "Seq Scan" not in plan, plan
    (bound,) = {row[0].strip() for row in rows if "Index Cond" in row[0]}
    assert "position" in bound, plan


async def test_the_end_of_a_log_is_found_behind_what_came_too_late(shard: Shard) -> None:
    await shard.open_replica()
    origin = await shard.start()
    await fail(shard, await shard.command(origin))
    rows = await shard.log(origin)
    (end,) = [row["position"] for row in rows if row["event_type"] == "playbook.failed"]
    await shard.pool.execute(
        "INSERT INTO noetl.event (execution_id, catalog_id, event_id, event_type, position)"
        " SELECT $1, 1, n, 'call.done', $2 + n FROM generate_series(1, 1200) AS n",
        origin,
        end,
    )
    found = Origins(Database(shard.pool))

    assert [row.position for row in await found.read_ends(origin, end=end)] == [1, end]
    assert (await shard.rooms.loader.load([origin]))[origin].execution.state.end == end


async def test_another_replica_goes_on_with_it(shard: Shard) -> None:
    """The rest to take over is in the state; the origin's log is read again."""
    await shard.open_replica()
    origin = await shard.start(LOOP)
    first, *rest = await shard.open_commands(origin)
    for command in rest:
        await shard.send(origin, shard.fast(command, data={"data": 1}))
    await fail(shard, first)
    shard.rooms.cache.forget(origin)

    again = await restart(shard, origin, LOOP)
    await eventually(lambda: _is_restored(shard, again))
    shard.rooms.cache.forget(again)
    (command,) = await shard.open_commands(again)
    await shard.send(again, shard.fast(command, data={"data": 2}))
    await shard.send(again, shard.fast(await shard.command(again)))

    assert (await shard.types(again))[-1] == "playbook.completed"


async def test_what_can_not_be_restarted_is_refused(shard: Shard) -> None:
    await shard.open_replica()
    running = await shard.start()
    unknown = shard.ids.next()

    for origin, how, status, text in (
        (running, {}, 409, "still runs"),
        (unknown, {}, 404, f"Execution not found: {unknown}"),
    ):
        message = shard.start_message(restart={"execution_id": origin, **how})
        answer = await shard.send(message["execution_id"], message)
        assert answer["status"] == status
        assert text in answer["error"]


async def test_the_same_restart_again_finds_the_first(shard: Shard) -> None:
    await shard.open_replica()
    origin = await shard.start()
    await fail(shard, await shard.command(origin))

    again = await restart(shard, origin, LINEAR, idempotency_key="k")
    message = shard.start_message(LINEAR, restart={"execution_id": origin}, idempotency_key="k")
    answer = await shard.send(message["execution_id"], message)
    other = shard.start_message(
        LINEAR,
        restart={"execution_id": origin, "from_step": "start"},
        idempotency_key="k",
    )
    refused = await shard.send(other["execution_id"], other)

    assert answer["body"]["execution_id"] == str(again)
    assert answer["body"]["status"] == "duplicate"
    assert refused["status"] == 422


async def _is_restored(shard: Shard, execution_id: int) -> bool:
    types = await shard.types(execution_id)
    return "execution.restored" in types and types[-1] == "command.issued"
