"""L3, L4: commands of workers that are gone are requeued."""

import asyncio
from datetime import timedelta

import pytest
from noetl_common.errors import Unavailable
from noetl_testkit.waiting import eventually

from services.orchestrator.tests.leases.workers import age_hold, hear, renotified, sweep
from services.orchestrator.tests.messages import Command
from services.orchestrator.tests.playbooks import LINEAR
from services.orchestrator.tests.shard import Replica, Shard


async def test_l3_no_worker_is_judged_while_heartbeats_cannot_be_heard(
    shard: Shard, replica: Replica, held: Command
) -> None:
    await age_hold(shard, held, replica, 3600)
    assert replica.rooms.liveness.workers is None

    await sweep(replica)
    claim = await shard.claim(held, worker="w2", instance="i2")

    assert await renotified(shard, held) == []
    assert claim["detail"]["code"] == "active_claim"


async def test_l3_no_worker_is_judged_while_the_ingress_is_behind(
    shard: Shard, replica: Replica, held: Command
) -> None:
    await age_hold(shard, held, replica, 120)
    await hear(shard, replica, heartbeat_age=120)

    async def behind() -> float:
        return 6.0

    replica.rooms.sweeper._broker.oldest_ingress_seconds = behind
    assert not await replica.rooms.sweeper.sweep()

    assert await renotified(shard, held) == []


async def test_l3_the_age_of_the_oldest_ingress_message_is_known(shard: Shard) -> None:
    replica = await shard.open_replica(loops=False)
    broker = replica.rooms.sweeper._broker
    assert await broker.oldest_ingress_seconds() == 0.0

    await shard.publish(shard.ids.next(), b"{}")

    async def grows() -> bool:
        age = await broker.oldest_ingress_seconds()
        return age is not None and age > 0.05

    await eventually(grows)


async def test_l4_a_new_process_under_the_old_name_orphans_its_commands_at_once(
    shard: Shard, replica: Replica, held: Command
) -> None:
    """The lease has not expired; the registration alone is enough."""
    await age_hold(shard, held, replica, 20)
    await hear(shard, replica, process_age=0, instance="i2")

    await sweep(replica)

    assert await renotified(shard, held) == [f"c:{held.event_id}:1"]


async def test_l4_the_same_process_registering_again_keeps_its_work(
    shard: Shard, replica: Replica, held: Command
) -> None:
    await age_hold(shard, held, replica, 20)
    await hear(shard, replica, process_age=0, instance="i1")

    await sweep(replica)

    assert await renotified(shard, held) == []


async def test_l4_a_deregistered_worker_is_gone_at_once(
    shard: Shard, replica: Replica, held: Command
) -> None:
    await hear(shard, replica, deregistered=True)

    await sweep(replica)

    assert await renotified(shard, held) == [f"c:{held.event_id}:1"]


async def test_l4_heartbeats_keep_a_long_command(
    shard: Shard, replica: Replica, held: Command
) -> None:
    await age_hold(shard, held, replica, 600)
    await hear(shard, replica, heartbeat_age=1)

    await sweep(replica)

    assert await renotified(shard, held) == []
    row = await shard.command_row(held)
    now = await shard.pool.fetchval("SELECT clock_timestamp()")
    assert row["lease_until"] > now + timedelta(seconds=50)


async def test_a_worker_that_falls_silent_is_noticed_before_its_leases_end(
    shard: Shard, replica: Replica, held: Command
) -> None:
    await age_hold(shard, held, replica, 100)
    await hear(shard, replica, heartbeat_age=1)
    await sweep(replica)
    assert await renotified(shard, held) == []

    await hear(shard, replica, heartbeat_age=61)
    await sweep(replica)

    assert await renotified(shard, held) == [f"c:{held.event_id}:1"]


async def test_the_hard_limit_ends_a_hold_of_a_healthy_worker(
    shard: Shard, replica: Replica, held: Command
) -> None:
    await age_hold(shard, held, replica, 1900)
    await hear(shard, replica, heartbeat_age=1)

    await sweep(replica)

    assert await renotified(shard, held) == [f"c:{held.event_id}:1"]


async def test_a_claim_that_never_starts_is_orphaned_after_its_grace(
    shard: Shard, replica: Replica
) -> None:
    command = await shard.command(await shard.start())
    await shard.claim(command)
    await age_hold(shard, command, replica, 31)
    await hear(shard, replica, heartbeat_age=1, instance=None)

    await sweep(replica)

    assert await renotified(shard, command) == [f"c:{command.event_id}:1"]


async def test_an_orphan_is_announced_without_its_command_and_with_the_next_attempt(
    shard: Shard, replica: Replica, held: Command
) -> None:
    await age_hold(shard, held, replica, 120)
    await hear(shard, replica, heartbeat_age=120)
    shard.published.clear()

    await sweep(replica)

    row = await shard.pool.fetchrow("SELECT * FROM noetl.outbox WHERE kind = 'command'")
    assert row is not None
    assert row["payload"]["fast"] == {"v": 1, "shard": 0, "attempts": 1}
    assert row["payload"]["command_id"] == held.command_id
    await eventually(lambda: shard.published)
    assert shard.published[0]["outbox_id"] == row["outbox_id"]
    assert shard.published[0]["body"] == row["payload"]
    assert (await shard.command_row(held))["worker_id"] == "w1"


async def test_an_orphan_is_announced_again_under_a_new_id_with_a_growing_pause(
    shard: Shard, replica: Replica, held: Command
) -> None:
    await age_hold(shard, held, replica, 120)
    await hear(shard, replica, heartbeat_age=120)
    await sweep(replica)
    await sweep(replica)
    assert await renotified(shard, held) == [f"c:{held.event_id}:1"]
    pauses = []
    for _ in range(2):
        row = await shard.command_row(held)
        pauses.append(row["lease_until"] - row["notified_at"])
        await shard.pool.execute("UPDATE noetl.command SET lease_until = now() - interval '1 s'")
        await sweep(replica)

    assert await renotified(shard, held) == [f"c:{held.event_id}:1:n2"]
    assert [round(pause.total_seconds()) for pause in pauses] == [10, 20]


async def test_a_command_lost_too_often_fails_with_its_reason(
    shard: Shard, replica: Replica, held: Command
) -> None:
    execution_id = held.execution_id
    for attempt, worker in ((1, "w2"), (2, "w3")):
        await age_hold(shard, held, replica, 120)
        await hear(shard, replica, heartbeat_age=120)
        claim = await shard.claim(held, worker=worker, instance=worker)
        assert claim["body"]["meta"]["attempts"] == attempt
    await age_hold(shard, held, replica, 120)
    await sweep(replica)

    async def has_failed() -> bool:
        return "playbook.failed" in await shard.types(execution_id)

    await eventually(has_failed)
    failed = [r for r in await shard.log(execution_id) if r["event_type"] == "call.error"]
    text = "Command lost: worker w3 stopped answering (attempt 3 of 3)"
    assert failed[0]["result"]["context"]["error"] == text
    assert failed[0]["meta"]["reason"] == "attempts_exhausted"
    assert await renotified(shard, held) == []


async def give_back_thrice(shard: Shard, replica: Replica, held: Command) -> None:
    """Three workers are stopped one after the other; the fourth, w4, has it now."""
    for attempt, worker in ((1, "w2"), (2, "w3"), (3, "w4")):
        await age_hold(shard, held, replica, 120)
        await hear(shard, replica, worker=f"w{attempt}", deregistered=True)
        await sweep(replica)
        claim = await shard.claim(held, worker=worker, instance=worker)
        assert claim["body"]["meta"]["attempts"] == attempt


async def test_runs_that_stopped_workers_gave_back_use_up_no_attempt(
    shard: Shard, replica: Replica, held: Command
) -> None:
    """Three workers are stopped one after the other, the fourth dies: it runs once more."""
    await give_back_thrice(shard, replica, held)
    await age_hold(shard, held, replica, 120)
    await hear(shard, replica, worker="w4", heartbeat_age=120)
    await sweep(replica)

    async def is_announced() -> bool:
        return f"c:{held.event_id}:4" in await renotified(shard, held)

    await eventually(is_announced)
    claim = await shard.claim(held, worker="w5", instance="w5")
    assert claim["body"]["meta"]["attempts"] == 4


async def test_a_command_that_is_given_back_for_ever_fails(
    shard: Shard, replica: Replica, held: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a limited number of runs that were given back is forgiven."""
    monkeypatch.setattr("noetl_engine.lease._MOST_GIVEN_BACK", 1)
    await give_back_thrice(shard, replica, held)
    await age_hold(shard, held, replica, 120)
    await hear(shard, replica, worker="w4", deregistered=True)
    await sweep(replica)

    async def has_failed() -> bool:
        return "playbook.failed" in await shard.types(held.execution_id)

    await eventually(has_failed)


async def test_a_pause_holds_what_the_decision_left_open(
    shard: Shard, replica: Replica, held: Command
) -> None:
    await give_back_thrice(shard, replica, held)
    await age_hold(shard, held, replica, 120)
    await hear(shard, replica, worker="w4", heartbeat_age=120)
    sweeper, asked = replica.rooms.sweeper, []
    sweeper._is_withheld = lambda command: asked.append(command.event_id) or True
    await sweep(replica)
    await eventually(lambda: asked == [held.event_id], what="the decision left it open")

    assert f"c:{held.event_id}:4" not in await renotified(shard, held)


async def test_a_database_that_fails_behind_a_turn_does_not_repeat_the_turn(
    shard: Shard, replica: Replica, held: Command
) -> None:
    store, asked = replica.rooms.store, []
    notify_again = store.notify_again

    async def fails_once(*args: object, **options: object) -> dict[tuple[int, int], int]:
        asked.append(1)
        if len(asked) == 1:
            raise Unavailable(what="the database")
        return await notify_again(*args, **options)

    await give_back_thrice(shard, replica, held)
    await age_hold(shard, held, replica, 120)
    await hear(shard, replica, worker="w4", heartbeat_age=120)
    store.notify_again = fails_once
    await sweep(replica)
    await eventually(lambda: asked, what="the decision left it open")
    await shard.claim(held, worker="w4", instance="w4")
    assert len(asked) == 1, "the turn was committed and is not taken once more"


async def test_a_lost_command_that_may_not_be_repeated_ends_as_unknown(shard: Shard) -> None:
    replica = await shard.open_replica()
    once = LINEAR.replace("step: start\n", "step: start\n    spec: {repeatable: false}\n")
    execution_id = await shard.start(once)
    command = await shard.command(execution_id)
    await eventually(lambda: shard.notifications(command))
    (told,) = shard.notifications(command)
    assert "command" not in told["body"]["fast"], "it is claimed before it runs"
    await shard.claim(command, worker="w1", instance="i1")
    await age_hold(shard, command, replica, 120)
    await hear(shard, replica, heartbeat_age=120)
    await sweep(replica)

    async def has_failed() -> bool:
        return "playbook.failed" in await shard.types(execution_id)

    await eventually(has_failed)
    failed = [r for r in await shard.log(execution_id) if r["event_type"] == "command.failed"]
    assert failed[0]["meta"]["reason"] == "outcome_unknown"
    assert failed[0]["result"]["context"]["error"].startswith("Outcome unknown: worker w1")
    assert await renotified(shard, command) == []


async def test_two_sweeps_at_once_announce_an_orphan_once(
    shard: Shard, replica: Replica, held: Command
) -> None:
    other = await shard.open_replica()
    await age_hold(shard, held, replica, 120)
    for one in (replica, other):
        await hear(shard, one, heartbeat_age=120)

    def announced() -> set[str]:
        ids = {one["message_id"] for one in shard.notifications()}
        return ids - {f"c:{held.event_id}:0"}

    await asyncio.gather(sweep(replica), sweep(other))
    await eventually(announced)

    # Both may have seen it; the broker stores one message of this id.
    assert await renotified(shard, held) == [f"c:{held.event_id}:1"]
    assert announced() == {f"c:{held.event_id}:1"}


@pytest.mark.parametrize("turns", ["claimed anew", "finished"])
async def test_an_orphan_that_is_none_any_more_is_not_announced(
    shard: Shard, replica: Replica, held: Command, turns: str
) -> None:
    """The command moves on between the sweep's look and its repetition."""
    await age_hold(shard, held, replica, 120)
    await hear(shard, replica, heartbeat_age=120)
    store = replica.rooms.store
    notify_again = store.notify_again

    async def too_late(*args: object, **options: object) -> dict[tuple[int, int], int]:
        if turns == "finished":
            assert await shard.send(held.execution_id, shard.fast(held)) == {"status": "ok"}
        else:
            claim = await shard.claim(held, worker="w2", instance="i2")
            assert claim["status"] == 200
        return await notify_again(*args, **options)

    store.notify_again = too_late
    await sweep(replica)

    assert await renotified(shard, held) == []
    assert (await shard.command_row(held))["notifications"] == 0
