"""W1: the position of an execution decides whether a decision is kept."""

import asyncio

import pytest
from msgspec import convert
from noetl_contract.ingress import CancelMessage, CommandOutcomeMessage
from noetl_engine.inputs import Claimed, Continued
from noetl_orchestrator.log.keys import RequestKey
from noetl_orchestrator.turn.inputs import Group, TurnInput
from noetl_testkit.waiting import eventually

from services.orchestrator.tests.gates import (
    FAN_OUT,
    Gate,
    Noted,
    beat,
    finish,
    written,
)
from services.orchestrator.tests.shard import Shard


async def test_w1_two_replicas_never_fork_a_log(shard: Shard) -> None:
    """Events of one execution go to both replicas at once; positions stay gapless and unique."""
    for _ in range(2):
        await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)

    events = [shard.event(command, "command.heartbeat", attempts=0) for _ in range(60)]
    answers = await asyncio.gather(*(shard.send(execution_id, event) for event in events))
    await finish(shard, execution_id)

    assert {answer["status"] for answer in answers} == {200}
    log = await shard.log(execution_id)
    stored = [row["event_id"] for row in log if row["event_type"] == "command.heartbeat"]
    assert sorted(stored) == sorted(event["events"][0]["event_id"] for event in events)
    assert log[-1]["event_type"] == "playbook.completed"


async def test_w1_a_stale_decision_is_thrown_away_and_made_again(shard: Shard) -> None:
    first = await shard.open_replica(loops=False)
    second = await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    await shard.send(execution_id, shard.event(command, "command.heartbeat"))
    # The first replica knows the execution as it was before the second goes on.
    stale = first.rooms
    loops = asyncio.create_task(stale.dispatcher.run_turns(stale.turns.run))
    await shard.claim(command, worker="w1", instance="i1")
    assert len(stale.cache) == 1
    await shard.send(execution_id, shard.fast(command, worker="w1", instance="i1"))
    assert second.rooms.cache.get(execution_id) is not None

    answer = await shard.claim(command, worker="w9", instance="i9")
    loops.cancel()
    await asyncio.gather(loops, return_exceptions=True)
    await stale.store.close()

    assert (answer["status"], answer["detail"]["code"]) == (409, "already_terminal")


async def test_w1_an_answer_without_rows_rests_on_the_position_too(shard: Shard) -> None:
    """A cached state that others have moved on from refuses nothing."""
    stale = await shard.open_replica(loops=False)
    execution_id_loop = asyncio.create_task(stale.rooms.dispatcher.run_turns(stale.rooms.turns.run))
    await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    assert (await shard.claim(command, worker="w1", instance="i1"))["status"] == 200
    await shard.send(execution_id, shard.fast(command))
    second = await shard.command(execution_id)

    # Replica 0 still has the execution at the claim; there the second command is unknown.
    claim = await shard.claim(second, worker="w2", instance="i2", replica=0)
    execution_id_loop.cancel()
    await asyncio.gather(execution_id_loop, return_exceptions=True)
    await stale.rooms.store.close()

    assert claim["status"] == 200


async def test_w1_what_another_replica_has_locked_is_left_out_whole(shard: Shard) -> None:
    await shard.open_replica()
    held, free = await shard.start(), await shard.start()
    commands = {one: await shard.command(one) for one in (held, free)}

    async with shard.pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "SELECT FROM noetl.execution_state WHERE execution_id = $1 FOR UPDATE", held
        )
        waiting = asyncio.create_task(shard.send(held, shard.fast(commands[held])))
        assert await shard.send(free, shard.fast(commands[free])) == {"status": "ok"}
        assert len(await shard.log(held)) == 2
        assert not waiting.done()

    assert await waiting == {"status": "ok"}


@pytest.mark.parametrize("writes", [True, False])
async def test_w1_one_commit_leaves_out_only_executions_that_have_moved(
    shard: Shard, *, writes: bool
) -> None:
    """The position alone decides, for each execution, be there rows to append or an answer."""
    stale = await shard.open_replica(loops=False)
    turns = stale.rooms.turns
    await shard.open_replica()
    moved, still = [await shard.command(await shard.start()) for _ in range(2)]
    await turns.run([beat(shard, one, Noted()) for one in (moved, still)], lambda: None)
    await shard.send(moved.execution_id, shard.fast(moved))
    # The first replica has the execution as it was before: there this command is unknown.
    second = await shard.command(moved.execution_id)
    callers = Noted(), Noted()
    behind = beat(shard, second, callers[0])
    if not writes:
        claim = Claimed(second.event_id, "w9", "i9", after_start=False, final=False)
        behind.inputs[0].message = claim
    gate = Gate(stale)

    postponed = await turns.run([behind, beat(shard, still, callers[1])], lambda: None)
    await stale.rooms.store.close()

    assert [group.execution_id for group, _ in postponed] == [moved.execution_id]
    assert (callers[0].answers, len(callers[1].answers)) == ([], 1)
    assert gate.commits == 1
    assert await shard.types(still.execution_id) == [
        "playbook_started",
        "command.issued",
        *["command.heartbeat"] * 2,
    ]


async def test_w1_nothing_at_all_of_a_left_out_decision_is_written(shard: Shard) -> None:
    """It would have appended, issued, changed, ended, timed, announced, kept and remembered."""
    # With all events for outside readers every row is reported to the relay.
    stale = await shard.open_replica(
        loops=False, snapshot_min_events=1, decision_commands=2, outbox_event_types="all"
    )
    turns = stale.rooms.turns
    await shard.open_replica(outbox_event_types="all")
    command = await shard.command(await shard.start(FAN_OUT))
    execution_id = command.execution_id
    await shard.pool.execute(
        "INSERT INTO noetl.timer (timer_id, execution_id, due_at, kind, payload)"
        " VALUES (7, $1, now() + interval '1 hour', 'continue', '{}')",
        execution_id,
    )
    outcome = convert(shard.fast(command), CommandOutcomeMessage)
    keyed = beat(shard, command, Noted()).inputs[0]
    keyed.request_keys = (RequestKey("s", "k", 60.0),)
    busy = [
        TurnInput(execution_id, outcome, Noted()),
        keyed,
        TurnInput(execution_id, Continued(), Noted(), timer_id=7),
    ]
    ending = [TurnInput(execution_id, CancelMessage(execution_id=execution_id), Noted())]

    for inputs in (busy, ending):
        await turns.run([beat(shard, command, Noted())], lambda: None)
        await shard.send(execution_id, shard.event(command, "command.heartbeat", attempts=0))
        before = await written(shard)
        ((group, _),) = await turns.run([Group(execution_id, inputs)], lambda: None)

        assert group.inputs == inputs
        assert await written(shard) == before

    # Nor was anything published: rows from here on came later.
    await turns.run([beat(shard, command, Noted())], lambda: None)
    await stale.rooms.store.close()
    announced = {row["outbox_id"] for row in (await written(shard))["outbox"]}
    await eventually(lambda: {outbox_id for outbox_id, _ in shard.told} >= announced)
    assert {outbox_id for outbox_id, _ in shard.told} == announced
