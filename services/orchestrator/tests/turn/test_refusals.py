"""W2: an input that can't be decided or stored harms its own execution only."""

import asyncio

import orjson
from noetl_orchestrator.log.stored_rows import UnfoldedEnd
from noetl_pg.errors import DatabaseUnavailable
from noetl_testkit.waiting import eventually

from services.orchestrator.tests.gates import (
    TOO_LARGE,
    Gate,
    finish,
)
from services.orchestrator.tests.shard import Shard


async def test_w2_one_unstorable_row_in_a_full_batch_harms_no_other_execution(shard: Shard) -> None:
    """The bad message goes to the dead letters, its execution fails, the others go on."""
    replica = await shard.open_replica(turns_in_flight=1)
    executions = [await shard.start() for _ in range(12)]
    commands = [await shard.command(one) for one in executions]
    messages = [shard.fast(command) for command in commands]
    messages[5]["events"][1]["event_id"] = TOO_LARGE
    bodies = [orjson.dumps(message) for message in messages]
    gate = Gate(replica)
    started = asyncio.Event()

    async def hold() -> None:
        gate.before = None
        started.set()
        await eventually(lambda: len(replica.rooms.dispatcher) >= 11)

    gate.before = hold
    first = asyncio.create_task(shard.send(executions[0], bodies[0]))
    await started.wait()
    rest = await asyncio.gather(
        *(shard.send(one, body) for one, body in zip(executions[1:], bodies[1:], strict=True))
    )
    answers = [await first, *rest]

    assert max(gate.sizes) > 1
    assert [one["status"] for number, one in enumerate(answers) if number != 5] == ["ok"] * 11
    assert answers[5]["error"]
    for number, execution_id in enumerate(executions):
        state = await shard.state(execution_id)
        assert state is not None
        assert state["status"] == ("FAILED" if number == 5 else "RUNNING")
    types = await shard.types(executions[5])
    assert types == ["playbook_started", "command.issued", "playbook.failed"]
    assert "could not be stored" in (await shard.log(executions[5]))[-1]["error"]
    # The answer comes first, then the letter.
    await eventually(shard.ingress_is_empty)
    (letter,) = await shard.dead_letters()
    assert letter[1] == bodies[5]


async def test_w2_the_good_inputs_of_the_bad_execution_count(shard: Shard) -> None:
    replica = await shard.open_replica(turns_in_flight=1)
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    good = shard.event(command, "command.heartbeat")
    bad = shard.event(command, "command.heartbeat", event_id=TOO_LARGE)
    gate = Gate(replica)
    started = asyncio.Event()

    async def hold() -> None:
        gate.before = None
        started.set()
        await eventually(lambda: len(replica.rooms.dispatcher) >= 2)

    gate.before = hold
    first = asyncio.create_task(shard.send(execution_id, shard.event(command, "command.heartbeat")))
    await started.wait()
    answers = await asyncio.gather(shard.send(execution_id, good), shard.send(execution_id, bad))
    await first

    assert answers[0]["body"]["status"] == "ok"
    assert answers[1]["status"] == 422
    assert (await shard.types(execution_id))[-2:] == ["command.heartbeat", "playbook.failed"]


async def test_w2_a_bad_input_waits_out_an_outage(shard: Shard) -> None:
    """The execution can't be failed just now: the turns go on, the input comes again."""
    replica = await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    fail_execution = replica.rooms.store.fail_execution
    tries = 0

    async def away_once(*args: object, **options: object) -> UnfoldedEnd | None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise DatabaseUnavailable(reason="away")
        return await fail_execution(*args, **options)

    replica.rooms.store.fail_execution = away_once
    bad = shard.event(command, "command.heartbeat", event_id=TOO_LARGE)
    answer = await shard.send(execution_id, bad)

    assert (answer["status"], tries) == (422, 2)
    assert (await shard.types(execution_id))[-1] == "playbook.failed"


async def test_w2_a_failure_ends_what_another_replica_issues_meanwhile(shard: Shard) -> None:
    """It waits for the other's commit, and sees the command that came with it."""
    await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    bad = shard.event(command, "command.heartbeat", event_id=TOO_LARGE)
    async with shard.pool.acquire() as other, other.transaction():
        await other.execute(
            "UPDATE noetl.execution_state SET position = 3 WHERE execution_id = $1", execution_id
        )
        await other.execute(
            "INSERT INTO noetl.event (execution_id, catalog_id, event_id, position, event_type)"
            " VALUES ($1, 1, 7, 3, 'command.issued')",
            execution_id,
        )
        await other.execute(
            "INSERT INTO noetl.command (command_id, event_id, execution_id, catalog_id, step_name,"
            " status, meta) VALUES (7, 7, $1, 1, 'second', 'PENDING', '{\"command_id\": \"x\"}')",
            execution_id,
        )
        refusing = asyncio.create_task(shard.send(execution_id, bad))

        async def waits() -> bool:
            return bool(
                await shard.pool.fetchval(
                    "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    " AND datname = current_database())"
                )
            )

        await eventually(waits)
    answer = await refusing

    assert answer["status"] == 422
    assert (await shard.types(execution_id))[-1] == "playbook.failed"
    assert await shard.open_commands(execution_id) == []


async def test_w2_what_has_ended_is_not_failed_again(shard: Shard) -> None:
    await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    await finish(shard, execution_id)
    before = await shard.types(execution_id)

    bad = shard.event(command, "command.heartbeat", event_id=TOO_LARGE)
    answer = await shard.send(execution_id, bad)

    assert answer["status"] == 422
    assert await shard.types(execution_id) == before


async def test_w2_a_claim_that_cannot_be_stored_is_its_claimers_fault_alone(
    shard: Shard,
) -> None:
    await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)

    refused = await shard.claim(command, worker="w\0")
    granted = await shard.claim(command, worker="w2")

    assert (refused["status"], granted["status"]) == (422, 200)
    assert await shard.types(execution_id) == [
        "playbook_started",
        "command.issued",
        "command.claimed",
    ]
