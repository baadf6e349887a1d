"""Waits on real servers: one effect of a signal, and timers that end with what they watch."""

import asyncio

from msgspec import convert
from noetl_contract.ingress import IngressMessage
from noetl_contract.json import Json, JsonObject
from noetl_orchestrator.leases.timers import take_due_timers
from noetl_orchestrator.turn.inputs import Caller, TurnInput
from noetl_pg.database import Row
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

from services.orchestrator.tests.shard import Replica, Shard

WAITING = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: waiting, path: tests/waiting}
workflow:
  - step: start
    tool: {kind: wait, signal: go, timeout: 1h, remind_every: 1h}
    next: {arcs: [{step: nap}]}
  - step: nap
    tool: {kind: sleep, duration: 1h}
"""


def signal(execution_id: int, signal_id: str, **fields: Json) -> JsonObject:
    body = {"type": "signal", "execution_id": execution_id, "name": "go", "signal_id": signal_id}
    return {**body, **fields}


async def timers(shard: Shard) -> list[Row]:
    return list(await shard.pool.fetch("SELECT * FROM noetl.timer ORDER BY kind"))


async def take(replica: Replica) -> int:
    rooms = replica.rooms
    return await take_due_timers(rooms.store, rooms.dispatcher, replica.settings)


async def test_w5_a_signal_has_one_effect_however_often_it_comes(shard: Shard) -> None:
    await shard.open_replica()
    execution_id = await shard.start(WAITING)
    assert [row["kind"] for row in await timers(shard)] == ["wait", "wait_reminder"]
    assert await shard.open_commands(execution_id) == []

    answers = await asyncio.gather(
        *(shard.send(execution_id, signal(execution_id, "one", payload=5)) for _ in range(5))
    )
    later = await shard.send(execution_id, signal(execution_id, "one", payload=6))

    bodies = [answer["body"] for answer in (*answers, later)]
    assert [body["status"] for body in bodies] == ["taken"] * 6
    types = await shard.types(execution_id)
    assert types.count("signal.received") == 1
    assert types.count("wait.started") == 2
    (nap,) = await timers(shard)
    assert nap["payload"]["step"] == "nap"


async def test_w10_the_timers_of_a_wait_go_with_its_end(shard: Shard) -> None:
    replica = await shard.open_replica()
    execution_id = await shard.start(WAITING)
    await shard.pool.execute("UPDATE noetl.timer SET due_at = now() WHERE kind = 'wait_reminder'")
    assert await take(replica) == 1

    async def is_reminded() -> bool:
        return "wait.reminder" in await shard.types(execution_id)

    await eventually(is_reminded)
    assert [row["kind"] for row in await timers(shard)] == ["wait", "wait_reminder"]
    replica.rooms.cache.forget(execution_id)
    await shard.send(execution_id, signal(execution_id, "one"))
    await shard.pool.execute("UPDATE noetl.timer SET due_at = now()")
    assert await take(replica) == 1

    async def has_ended() -> bool:
        return "playbook.completed" in await shard.types(execution_id)

    await eventually(has_ended)
    assert await timers(shard) == []


async def test_a_wait_that_begins_and_ends_in_one_turn_leaves_no_timer(shard: Shard) -> None:
    replica = await shard.open_replica()
    execution_id = await shard.start(WAITING)
    taken = asyncio.get_running_loop().create_future()

    class Told(Caller):
        async def answered(self, answer: object) -> None:
            taken.set_result(answer)

    first = convert(signal(execution_id, "one"), IngressMessage)
    # Both are there before the turn begins; the second ends what the first has begun.
    replica.rooms.dispatcher.submit(TurnInput(execution_id, first, Caller()))
    cancel = convert({"type": "cancel", "execution_id": execution_id}, IngressMessage)
    replica.rooms.dispatcher.submit(TurnInput(execution_id, cancel, Told()))
    await asyncio.wait_for(taken, PATIENCE_SECONDS)

    assert (await shard.types(execution_id))[-1] == "playbook_cancelled"
    assert await timers(shard) == []


async def test_a_signal_to_nobody_is_refused(shard: Shard) -> None:
    await shard.open_replica()
    answer = await shard.send(77, signal(77, "one"))
    assert (answer["status"], answer["error"]) == (404, "Execution not found: 77")


async def test_timers_are_left_while_inputs_wait_for_their_turn(shard: Shard) -> None:
    """A crowd of waits that end at once doesn't pile up in memory."""
    replica = await shard.open_replica(loops=False, timer_batch=2, timer_inputs_max=3)
    for number in range(6):
        await shard.pool.execute(
            "INSERT INTO noetl.timer (timer_id, execution_id, due_at, kind)"
            " VALUES ($1, $1, now(), 'continue')",
            number + 1,
        )

    # Nothing is decided here, so what was taken waits.
    assert [await take(replica), await take(replica)] == [4, 0]
    assert len(replica.rooms.dispatcher) == 4
