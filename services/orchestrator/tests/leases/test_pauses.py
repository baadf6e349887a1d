"""Commands of a paused path or pool are issued, but not published."""

import pytest
from noetl_contract.http.workers.pauses import PauseKind, PauseTarget
from noetl_contract.rpc.orchestrator import JoinsQuery
from noetl_testkit.waiting import eventually

from services.orchestrator.tests.leases.workers import hear
from services.orchestrator.tests.messages import Command
from services.orchestrator.tests.shard import Replica, Shard

JOINED = """apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: joined, path: tests/joined}
workflow:
  - step: start
    tool: {kind: noop}
    next: {spec: {mode: inclusive}, arcs: [{step: a}, {step: b}]}
  - {step: a, tool: {kind: noop}, next: {arcs: [{step: join}]}}
  - {step: b, tool: {kind: noop}, next: {arcs: [{step: join}]}}
  - {step: join, tool: {kind: noop}}
"""


def pause(replica: Replica, kind: PauseKind, name: str) -> None:
    replica.rooms.pauses.update([PauseTarget(kind=kind, name=name)])


async def announced(shard: Shard, command: Command) -> bool:
    return bool(
        await shard.pool.fetchval(
            "SELECT count(*) FROM noetl.outbox WHERE kind = 'command' AND event_id = $1",
            command.event_id,
        )
    )


async def released(shard: Shard, replica: Replica) -> None:
    replica.rooms.pauses.update([])
    await shard.pool.execute("UPDATE noetl.command SET notified_at = notified_at - interval '1 s'")
    await replica.rooms.sweeper.hand_out()


@pytest.mark.parametrize(("kind", "name"), [("pool", "shared"), ("path", "tests")])
async def test_what_is_withheld_is_handed_out_when_the_pause_is_over(
    shard: Shard, replica: Replica, *, kind: PauseKind, name: str
) -> None:
    pause(replica, kind, name)
    command = await shard.command(await shard.start())
    assert not await announced(shard, command)
    claim = await shard.claim(command)
    assert (claim["status"], claim["detail"]["code"]) == (409, "paused")

    await released(shard, replica)

    await eventually(lambda: announced(shard, command))
    assert (await shard.claim(command))["status"] == 200


@pytest.mark.parametrize(("kind", "name"), [("pool", "gpu"), ("path", "test")])
async def test_others_are_not_withheld(
    shard: Shard, replica: Replica, *, kind: PauseKind, name: str
) -> None:
    pause(replica, kind, name)

    command = await shard.command(await shard.start())

    assert await announced(shard, command)


async def test_what_runs_goes_on_and_the_next_step_waits(
    shard: Shard, replica: Replica, held: Command
) -> None:
    pause(replica, "pool", "shared")

    answer = await shard.send(held.execution_id, shard.fast(held))

    assert answer == {"status": "ok"}
    following = await shard.command(held.execution_id)
    assert not await announced(shard, following)


async def test_the_sweep_sends_nothing_of_what_is_paused(shard: Shard, replica: Replica) -> None:
    await hear(shard, replica)
    pause(replica, "pool", "shared")
    command = await shard.command(await shard.start())
    await shard.pool.execute(
        "UPDATE noetl.command SET created_at = created_at - interval '1 h',"
        " notified_at = notified_at - interval '1 h'"
    )

    await replica.rooms.sweeper.sweep_unclaimed()

    assert not await announced(shard, command)


async def test_an_execution_s_pause_is_a_row_until_it_goes_on(shard: Shard) -> None:
    await shard.open_replica()
    execution_id = await shard.start()
    message = {"execution_id": execution_id, "reason": "later", "actor": "key:ann"}
    rows = "SELECT payload FROM noetl.timer WHERE execution_id = $1 AND kind = 'pause'"

    await shard.send(execution_id, {"type": "pause", **message})
    (row,) = await shard.pool.fetch(rows, execution_id)
    assert row["payload"] == {"reason": "later", "actor": "key:ann"}

    await shard.send(execution_id, {"type": "resume", "execution_id": execution_id})
    assert await shard.pool.fetch(rows, execution_id) == []


async def test_the_joins_that_wait_are_told(shard: Shard, replica: Replica) -> None:
    execution_id = await shard.start(JOINED)
    await shard.send(execution_id, shard.fast(await shard.command(execution_id)))
    first, _second = await shard.open_commands(execution_id)
    query = JoinsQuery(execution_id=execution_id)
    assert (await replica.rooms.joins.on_joins(query)).joins == []

    await shard.send(execution_id, shard.fast(first))
    (join,) = (await replica.rooms.joins.on_joins(query)).joins

    assert (join.step, join.arrived, join.awaited) == ("join", ["a"], ["b"])
    assert join.since is not None
    nobody = JoinsQuery(execution_id=shard.ids.next())
    assert (await replica.rooms.joins.on_joins(nobody)).joins == []
