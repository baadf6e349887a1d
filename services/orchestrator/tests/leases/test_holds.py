"""L1, L2, L5: the log decides which worker holds a command."""

import asyncio
from datetime import timedelta

from services.orchestrator.tests.leases.workers import age_hold, hear
from services.orchestrator.tests.messages import Command
from services.orchestrator.tests.shard import Replica, Shard


async def test_l1_a_late_outcome_is_kept_and_decides_nothing(
    shard: Shard, replica: Replica, held: Command
) -> None:
    await age_hold(shard, held, replica, 120)
    await hear(shard, replica, heartbeat_age=120)
    claim = await shard.claim(held, worker="w2", instance="i2")

    late = await shard.send(held.execution_id, shard.fast(held))
    outcome = await shard.send(
        held.execution_id, shard.fast(held, worker="w2", instance="i2", attempts=1)
    )

    assert (claim["body"]["meta"]["attempts"], claim["body"]["meta"]["attempt"]) == (1, 2)
    assert late == {"status": "late", "reason": "taken"}
    assert outcome == {"status": "ok"}
    rows = [r for r in await shard.log(held.execution_id) if r["event_type"] == "call.done"]
    assert [(r["meta"] or {}).get("late", False) for r in rows] == [True, False]
    claims = [r for r in await shard.log(held.execution_id) if r["event_type"] == "command.claimed"]
    assert claims[1]["meta"]["reclaimed_from_worker"] == "w1"
    assert claims[1]["meta"]["reclaimed_reason"] == "lease_expired"


async def test_l1_runs_of_one_worker_id_are_told_apart_by_attempts(
    shard: Shard, replica: Replica, held: Command
) -> None:
    await hear(shard, replica, process_age=-5, instance="i2")
    await age_hold(shard, held, replica, 60)
    claim = await shard.claim(held, worker="w1", instance="i2")
    assert claim["status"] == 200

    late = await shard.send(held.execution_id, shard.event(held, "command.completed", attempts=0))
    counted = await shard.send(
        held.execution_id, shard.event(held, "command.completed", attempts=1)
    )

    assert (late["body"]["status"], counted["body"]["status"]) == ("late", "ok")


async def test_l2_a_claim_is_an_append_and_shows_in_the_row(shard: Shard, replica: Replica) -> None:
    del replica
    command = await shard.command(await shard.start())
    before = len(await shard.log(command.execution_id))

    await shard.claim(command, worker="w7")

    log = await shard.log(command.execution_id)
    assert (len(log) - before, log[-1]["event_type"]) == (1, "command.claimed")
    row = await shard.command_row(command)
    assert (row["status"], row["worker_id"], row["holds"]) == ("CLAIMED", "w7", 1)
    assert row["lease_until"] - row["claimed_at"] <= timedelta(seconds=31)


async def test_l2_two_claims_at_once_give_one_hold(shard: Shard, replica: Replica) -> None:
    del replica
    await shard.open_replica()
    command = await shard.command(await shard.start())

    answers = await asyncio.gather(
        *(
            shard.claim(command, worker=f"w{number}", instance=f"i{number}", replica=number % 2)
            for number in range(6)
        )
    )

    assert sorted(answer["status"] for answer in answers) == [200] + [409] * 5
    codes = {answer["detail"]["code"] for answer in answers if answer["status"] == 409}
    assert codes == {"active_claim"}


async def test_l2_cancel_against_claim_is_decided_by_the_log(
    shard: Shard, replica: Replica
) -> None:
    del replica
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    await shard.send(execution_id, {"type": "cancel", "execution_id": execution_id})

    claim = await shard.claim(command)

    assert (claim["status"], claim["error"]) == (409, "Execution has been cancelled")
    assert claim["detail"]["code"] == "execution_cancelled"


async def test_l2_a_cancel_and_a_claim_at_once_leave_one_order(
    shard: Shard, replica: Replica
) -> None:
    """Two replicas decide at once: the first one in the log wins, and the other learns it."""
    del replica
    await shard.open_replica()
    for _ in range(4):
        execution_id = await shard.start()
        command = await shard.command(execution_id)

        cancel, claim = await asyncio.gather(
            shard.send(execution_id, {"type": "cancel", "execution_id": execution_id}),
            shard.claim(command, replica=1),
        )

        types = (await shard.types(execution_id))[2:]
        granted = claim["status"] == 200
        assert cancel["body"]["status"] == "cancelled"
        assert types == [*(["command.claimed"] if granted else []), "playbook_cancelled"]
        assert granted or claim["detail"]["code"] == "execution_cancelled"
        assert (await shard.command_row(command))["status"] == "CANCELLED"


async def test_l2_the_same_claim_again_waits_for_the_start(shard: Shard, replica: Replica) -> None:
    """Over HTTP the second is held back and, as nothing has started, gets the same answer."""
    del replica
    command = await shard.command(await shard.start())
    first = await shard.claim(command)

    second = await shard.claim(command)
    await shard.send(command.execution_id, shard.event(command, "command.started", attempts=0))
    third = await shard.claim(command)

    assert first == second
    assert (third["status"], third["error"]) == (409, "Command already claimed by w1")
    assert (await shard.types(command.execution_id)).count("command.claimed") == 1


async def test_l5_of_two_workers_with_one_command_the_first_in_the_log_holds_it(
    shard: Shard, replica: Replica
) -> None:
    del replica
    command = await shard.command(await shard.start())

    first = await shard.send(command.execution_id, shard.fast(command, "command.start"))
    second = await shard.send(
        command.execution_id, shard.fast(command, "command.start", worker="w2", instance="i2")
    )
    outcomes = [
        await shard.send(command.execution_id, shard.fast(command, worker="w2", instance="i2")),
        await shard.send(command.execution_id, shard.fast(command)),
    ]

    assert (first, second) == ({"status": "held"}, {"status": "lost", "reason": "taken"})
    assert outcomes == [{"status": "late", "reason": "taken"}, {"status": "ok"}]


async def test_l5_an_outcome_before_its_start_brings_all_rows(
    shard: Shard, replica: Replica
) -> None:
    del replica
    command = await shard.command(await shard.start())
    outcome = shard.fast(command)
    start = {**outcome, "type": "command.start", "events": outcome["events"][:1]}

    done = await shard.send(command.execution_id, outcome)
    held = await shard.send(command.execution_id, start)

    assert (done, held) == ({"status": "ok"}, {"status": "held"})
    types = await shard.types(command.execution_id)
    assert types[2:6] == ["command.claimed", "command.started", "call.done", "command.completed"]
    assert types.count("command.started") == 1


async def test_l5_a_claim_after_a_start_waits_for_the_start(shard: Shard, replica: Replica) -> None:
    del replica
    command = await shard.command(await shard.start())

    claim = await shard.claim(command, worker="w2", instance="i2", after_start=True)

    assert claim["body"] == {"status": "retry"}
