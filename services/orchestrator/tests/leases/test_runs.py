"""Workers learn which of their runs are over: by a hint after the commit, and by asking."""

import orjson
import pytest
from noetl_contract.hints import EVERY_RUN
from noetl_contract.http.workers.runtimes import RunningCommand
from noetl_contract.json import JsonObject
from noetl_contract.rpc.orchestrator import RunsQuery
from noetl_contract.subjects import control_subject
from noetl_testkit.bus import flush
from noetl_testkit.waiting import eventually

from services.orchestrator.tests.gates import TOO_LARGE
from services.orchestrator.tests.leases.workers import age_hold, hear
from services.orchestrator.tests.messages import Command
from services.orchestrator.tests.shard import Replica, Shard


async def told(shard: Shard, pool: str = "shared") -> list[JsonObject]:
    heard: list[JsonObject] = []
    await shard.bus.subscribe(
        control_subject(pool), lambda message: heard.append(orjson.loads(message.data))
    )
    await flush(shard.bus)
    return heard


async def over(replica: Replica, command: Command, *, attempts: int = 0) -> list[int]:
    run = RunningCommand(
        execution_id=command.execution_id, event_id=command.event_id, attempts=attempts
    )
    answer = await replica.rooms.runs.on_over(RunsQuery(runs=[run]))
    return [one.event_id for one in answer.over]


async def test_a_cancel_tells_the_workers_and_who_asks(
    shard: Shard, replica: Replica, held: Command
) -> None:
    heard = await told(shard)
    assert await over(replica, held) == []

    await shard.send(held.execution_id, {"type": "cancel", "execution_id": held.execution_id})

    await eventually(lambda: heard)
    assert heard == [
        {"execution_id": held.execution_id, "over": [[held.event_id, 0]], "ended": True}
    ]
    assert await over(replica, held) == [held.event_id]


@pytest.mark.parametrize(
    "end",
    [{"type": "cancel"}, {"type": "finalize", "status": "FAILED", "error": "stop"}],
    ids=["cancel", "finalize"],
)
async def test_of_an_execution_that_ends_nothing_is_begun(
    shard: Shard, replica: Replica, end: JsonObject
) -> None:
    """Its command waits in a queue, so no run can be named."""
    del replica
    heard = await told(shard)
    command = await shard.command(await shard.start())

    message = {**end, "execution_id": command.execution_id}
    answer = await shard.send(command.execution_id, message)

    assert answer["status"] == 200
    assert heard == [{"execution_id": command.execution_id, "over": [], "ended": True}], (
        "told before the answer"
    )
    heard.clear()
    await shard.send(command.execution_id, message)
    assert [one["ended"] for one in heard] == [True], "said again to who asks again"


async def test_of_an_execution_that_the_orchestrator_fails_nothing_is_begun(
    shard: Shard, replica: Replica
) -> None:
    """An input that can't be stored ends it; its command waits in a queue."""
    del replica
    heard = await told(shard, "gpu")
    command = await shard.command(await shard.start(execution_pool="gpu"))
    bad = shard.event(command, "command.heartbeat", event_id=TOO_LARGE)

    answer = await shard.send(command.execution_id, bad)

    assert answer["status"] == 422
    assert heard == [{"execution_id": command.execution_id, "over": [], "ended": True}], (
        "told before the answer"
    )
    heard.clear()
    await shard.send(command.execution_id, bad)
    await flush(shard.bus)
    assert heard == [], "of what has ended no command is open"


async def test_a_failure_without_the_fold_stops_what_goes_on_after_its_report(
    shard: Shard, replica: Replica, held: Command
) -> None:
    """Its container is stopped, whichever run had started it."""
    heard = await told(shard)
    bad = shard.event(held, "command.heartbeat", event_id=TOO_LARGE)

    await shard.send(held.execution_id, bad)

    assert heard == [
        {
            "execution_id": held.execution_id,
            "over": [[held.event_id, EVERY_RUN]],
            "ended": True,
        }
    ]
    assert await over(replica, held) == [held.event_id]


async def test_the_hint_goes_to_the_pool_of_the_execution(shard: Shard, replica: Replica) -> None:
    del replica
    heard = await told(shard, "gpu")
    command = await shard.command(await shard.start(execution_pool="gpu"))
    await shard.send(command.execution_id, shard.fast(command, "command.start"))

    await shard.send(command.execution_id, {"type": "cancel", "execution_id": command.execution_id})

    await eventually(lambda: heard)


async def test_a_lost_lease_tells_the_worker_that_lost_it(
    shard: Shard, replica: Replica, held: Command
) -> None:
    heard = await told(shard)
    await age_hold(shard, held, replica, 120)
    await hear(shard, replica, deregistered=True)

    claim = await shard.claim(held, worker="w2", instance="i2")

    assert claim["status"] == 200
    await eventually(lambda: heard)
    assert heard[0]["over"] == [[held.event_id, 0]]
    assert await over(replica, held, attempts=0) == [held.event_id]
    assert await over(replica, held, attempts=1) == []


async def test_a_run_that_ends_by_itself_is_told_to_nobody(
    shard: Shard, replica: Replica, held: Command
) -> None:
    del replica
    heard = await told(shard)

    await shard.send(held.execution_id, shard.fast(held))
    last = await shard.command(held.execution_id)
    await shard.send(held.execution_id, shard.fast(last, "command.start"))
    await shard.send(held.execution_id, shard.fast(last))
    await flush(shard.bus)

    assert (await shard.types(held.execution_id))[-1] == "playbook.completed"
    assert heard == []
