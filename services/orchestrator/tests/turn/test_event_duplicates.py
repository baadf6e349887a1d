"""W3: repeated events are stored once."""

import asyncio

import pytest
from noetl_contract.ingress import EventsMessage
from noetl_orchestrator.turn.inputs import TurnInput
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

from services.orchestrator.tests.gates import (
    Gate,
    Noted,
    beat,
    forget_ids,
)
from services.orchestrator.tests.playbooks import LOOP
from services.orchestrator.tests.shard import Shard


@pytest.mark.parametrize("is_remembered", [True, False])
async def test_w3_the_same_event_again_is_a_repetition(
    shard: Shard, *, is_remembered: bool
) -> None:
    replica = await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    event = shard.event(command, "command.heartbeat")

    first = await shard.send(execution_id, event)
    if not is_remembered:
        await forget_ids(replica, execution_id)
    second = await shard.send(execution_id, event)

    assert first == second
    assert (await shard.types(execution_id)).count("command.heartbeat") == 1


@pytest.mark.parametrize("is_remembered", [True, False])
async def test_w3_the_same_id_with_other_content_is_another_event(
    shard: Shard, *, is_remembered: bool
) -> None:
    """Two workers with one snowflake node: nothing is lost, nothing is overwritten.

    Type, command and worker all have to agree for a repetition.
    """
    replica = await shard.open_replica()
    execution_id = await shard.start(LOOP)
    command, sibling, _ = await shard.open_commands(execution_id)
    event_id = shard.ids.next()
    one = shard.event(command, "command.heartbeat", event_id=event_id)
    others = [
        shard.event(command, "command.heartbeat", event_id=event_id, worker="w2"),
        shard.event(sibling, "command.heartbeat", event_id=event_id),
        shard.event(command, "note.taken", event_id=event_id),
    ]

    answers = []
    for message in (one, *others, one):
        if not is_remembered:
            await forget_ids(replica, execution_id)
        answers.append(await shard.send(execution_id, message))

    ids = [answer["body"]["event_id"] for answer in answers]
    assert ids[0] == ids[-1] == event_id
    assert len(set(ids)) == 4
    stored = {row["event_id"]: row for row in await shard.log(execution_id)}
    assert [stored[one]["event_type"] for one in ids] == [
        *["command.heartbeat"] * 3,
        "note.taken",
        "command.heartbeat",
    ]
    assert [stored[one]["meta"]["worker_id"] for one in ids] == ["w1", "w2", "w1", "w1", "w1"]
    assert stored[ids[2]]["result"]["context"]["command_id"] == sibling.command_id


async def test_w3_a_late_outcome_is_stored_once(shard: Shard) -> None:
    replica = await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    await shard.send(execution_id, shard.fast(command))
    late = shard.fast(command, worker="w2", instance="i2")

    first = await shard.send(execution_id, late)
    await forget_ids(replica, execution_id)
    second = await shard.send(execution_id, late)

    assert first == second == {"status": "late", "reason": "finished"}
    marked = [r for r in await shard.log(execution_id) if (r["meta"] or {}).get("late")]
    assert [row["event_type"] for row in marked] == ["call.done", "command.completed"]


async def test_w3_repetitions_inside_one_turn_are_answered_like_the_first(shard: Shard) -> None:
    replica = await shard.open_replica(turns_in_flight=1, turn_seconds=PATIENCE_SECONDS)
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    gate = Gate(replica)
    started = asyncio.Event()

    async def hold() -> None:
        gate.before = None
        started.set()
        await eventually(lambda: len(replica.rooms.dispatcher) >= 4)

    gate.before = hold
    blocker = asyncio.create_task(
        shard.send(execution_id, shard.event(command, "command.heartbeat"))
    )
    await started.wait()
    event = shard.event(command, "call.done", attempts=0)
    end = shard.event(command, "command.completed", attempts=0)
    answers = await asyncio.gather(
        *(shard.send(execution_id, message) for message in (event, event, end, end))
    )
    await blocker

    assert answers[0] == answers[1]
    assert answers[2] == answers[3]
    assert gate.commits == 2
    types = await shard.types(execution_id)
    assert (types.count("call.done"), types.count("command.completed")) == (1, 1)


async def test_w3_equal_ids_meet_in_one_turn(shard: Shard) -> None:
    """The second gets a fresh id at once; no key has to refuse the commit first."""
    replica = await shard.open_replica(loops=False)
    await shard.open_replica()
    command = await shard.command(await shard.start())
    caller = Noted()
    first = beat(shard, command, caller)
    posted = first.inputs[0].message
    assert isinstance(posted, EventsMessage)
    other = posted.events[0].but(worker_id="w2")
    second = posted.but(events=[other])
    first.inputs.append(TurnInput(command.execution_id, second, caller))
    gate = Gate(replica)

    assert await replica.rooms.turns.run([first], lambda: None) == []
    await replica.rooms.store.close()

    assert gate.commits == 1
    ids = [answer.body["event_id"] for answer in caller.answers]
    assert ids[0] == other.event_id
    assert [row["event_id"] for row in await shard.log(command.execution_id)][2:] == ids
