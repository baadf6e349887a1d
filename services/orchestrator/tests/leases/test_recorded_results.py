"""L8: a result in the log ends its command; no worker runs it again."""

import pytest
from noetl_testkit.waiting import eventually

from services.orchestrator.tests.leases.workers import age_hold, hear, renotified, sweep
from services.orchestrator.tests.messages import Command
from services.orchestrator.tests.shard import Replica, Shard


@pytest.fixture
async def replica(shard: Shard) -> Replica:
    """Open a replica that waits longer for the rest of a report than any slow test takes."""
    return await shard.open_replica(command_result_seconds=20)


async def report(shard: Shard, command: Command) -> None:
    """Post a result, and nothing behind it."""
    result = {"status": "success", "context": {"status": "success", "data": {"n": 1}}}
    event = shard.event(command, "call.done", attempts=0, context={"result": result})
    await shard.send(command.execution_id, event)


async def has_gone_on(shard: Shard, command: Command) -> bool:
    types = await shard.types(command.execution_id)
    return types.count("command.completed") == 1 and types.count("command.issued") == 2


@pytest.mark.parametrize("is_heard", [True, False], ids=["heartbeats", "no heartbeats"])
async def test_l8_a_result_with_nothing_behind_it_ends_its_command(
    shard: Shard, replica: Replica, held: Command, *, is_heard: bool
) -> None:
    if is_heard:
        await hear(shard, replica)
        # Commands of a worker of whom there is news are looked at, whatever they wait for.
        await sweep(replica)
    await report(shard, held)
    await sweep(replica)
    assert "command.completed" not in await shard.types(held.execution_id)

    await age_hold(shard, held, replica, 21)
    await sweep(replica)

    await eventually(lambda: has_gone_on(shard, held))
    assert await renotified(shard, held) == []


async def test_l8_a_result_of_a_worker_that_is_gone_ends_its_command_at_once(
    shard: Shard, replica: Replica, held: Command
) -> None:
    await report(shard, held)
    await hear(shard, replica, deregistered=True)

    await sweep(replica)

    await eventually(lambda: has_gone_on(shard, held))
    assert await renotified(shard, held) == []


async def test_l8_a_repeated_notification_gives_nobody_the_command(
    shard: Shard, replica: Replica, held: Command
) -> None:
    await report(shard, held)
    await hear(shard, replica, deregistered=True)

    claim = await shard.claim(held, worker="w2", instance="i2")

    assert claim["detail"]["code"] == "already_terminal"
    assert await has_gone_on(shard, held)
