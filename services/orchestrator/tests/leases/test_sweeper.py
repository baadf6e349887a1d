"""Leases: who is judged, when, and what becomes of the command (L1-L5, O3)."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest
from noetl_common.bus.topology import ensure_durable
from noetl_contract.streams import pool_durable
from noetl_orchestrator.leases.worker_liveness import Liveness
from noetl_testkit.waiting import eventually

from services.orchestrator.tests.messages import Command
from services.orchestrator.tests.shard import Replica, Shard


async def hear(
    shard: Shard,
    replica: Replica,
    *,
    heartbeat_age: float = 0.0,
    process_age: float = 3600.0,
    worker: str = "w1",
    instance: str | None = "i1",
    deregistered: bool = False,
    heard_for: float = 3600.0,
) -> None:
    """Let the replica know of a worker as the catalog would tell."""
    now: datetime = await shard.pool.fetchval("SELECT clock_timestamp()")
    seen = {
        "heartbeat_at": (now - timedelta(seconds=heartbeat_age)).isoformat(),
        "process_since": (now - timedelta(seconds=process_age)).isoformat(),
        "instance": instance,
        "deregistered_at": now.isoformat() if deregistered else None,
    }
    liveness = replica.parts.liveness
    if liveness.workers is None:
        liveness.heard({"now": (now - timedelta(seconds=heard_for)).isoformat(), "workers": {}})
    liveness.heard({"now": now.isoformat(), "workers": {worker: seen}})


async def age_hold(shard: Shard, command: Command, replica: Replica, seconds: float) -> None:
    """Let the present hold have begun earlier, in the log and in the row."""
    replica.parts.cache.forget(command.execution_id)
    back = timedelta(seconds=seconds)
    await shard.pool.execute(
        "UPDATE noetl.event SET created_at = created_at - $2::interval,"
        " note = CASE WHEN note ? 'at' THEN jsonb_set(note, '{at}',"
        " to_jsonb((note ->> 'at')::bigint - $3::bigint)) ELSE note END"
        " WHERE execution_id = $1 AND event_type IN ('command.claimed', 'command.started')",
        command.execution_id,
        back,
        int(seconds * 1_000_000),
    )
    await shard.pool.execute(
        "UPDATE noetl.command SET claimed_at = claimed_at - $2::interval,"
        " started_at = started_at - $2::interval, updated_at = updated_at - $2::interval,"
        " lease_until = lease_until - $2::interval WHERE execution_id = $1",
        command.execution_id,
        back,
    )


async def sweep(replica: Replica) -> None:
    await replica.parts.sweeper.sweep()


async def renotified(shard: Shard, command: Command) -> list[str]:
    """Return the message id of the notification if it waits to be published again."""
    rows = await shard.pool.fetch(
        "SELECT message_id FROM noetl.outbox WHERE kind = 'command' AND status = 'PENDING'"
        " AND execution_id = $1 AND event_id = $2 AND updated_at > created_at",
        command.execution_id,
        command.event_id,
    )
    return [row["message_id"] for row in rows]


@pytest.fixture
async def replica(shard: Shard) -> Replica:
    return await shard.open_replica()


@pytest.fixture
async def held(shard: Shard, replica: Replica) -> Command:
    """A command that w1 holds and has started."""
    del replica
    command = await shard.command(await shard.start())
    answer = await shard.send(command.execution_id, shard.fast(command, "command.start"))
    assert answer == {"status": "held"}
    return command


# -- L1 --------------------------------------------------------------------------------------


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


# -- L2 --------------------------------------------------------------------------------------


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
    """Two replicas decide at once: whoever is first in the log was right, the other knows it."""
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


# -- L3 --------------------------------------------------------------------------------------


async def test_l3_nobody_is_judged_while_heartbeats_cannot_be_heard(
    shard: Shard, replica: Replica, held: Command
) -> None:
    await age_hold(shard, held, replica, 3600)
    assert replica.parts.liveness.workers is None

    await sweep(replica)
    claim = await shard.claim(held, worker="w2", instance="i2")

    assert await renotified(shard, held) == []
    assert claim["detail"]["code"] == "active_claim"


async def test_l3_nobody_is_judged_while_the_ingress_is_behind(
    shard: Shard, replica: Replica, held: Command
) -> None:
    await age_hold(shard, held, replica, 120)
    await hear(shard, replica, heartbeat_age=120)

    async def behind() -> float:
        return 6.0

    replica.parts.sweeper._broker.oldest_ingress_seconds = behind  # type: ignore[method-assign]
    await sweep(replica)

    assert await renotified(shard, held) == []


async def test_l3_the_age_of_the_oldest_ingress_message_is_known(shard: Shard) -> None:
    replica = await shard.open_replica(loops=False)
    broker = replica.parts.sweeper._broker
    assert await broker.oldest_ingress_seconds() == 0.0

    await shard.publish(shard.ids.next(), b"{}")

    async def grows() -> bool:
        age = await broker.oldest_ingress_seconds()
        return age is not None and age > 0.05

    await eventually(grows)


WORKER = {"heartbeat_at": "2026-01-01T00:00:00Z", "process_since": "2026-01-01T00:00:00Z"}


def make_liveness(**overrides: Any) -> Liveness:
    return Liveness(**{"max_age_seconds": 10, "edge_stale_seconds": 15, **overrides})


def tell(liveness: Liveness, at: str, *, edge: tuple[str, str] | None = None) -> str:
    """Tell of a worker that beats through an edge; returns since when it could be heard."""
    heartbeat, since = edge or (at, "2026-01-01T00:00:00Z")
    liveness.heard(
        {
            "now": f"2026-01-01T{at}Z" if len(at) == 8 else at,
            "edges": {"e": {"heartbeat_at": _full(heartbeat), "process_since": _full(since)}},
            "workers": {"w1": {**WORKER, "over_edge": True}},
        }
    )
    assert liveness.workers is not None
    heard = liveness.workers["w1"].heard_since
    assert heard is not None
    return heard.strftime("%H:%M:%S")


def _full(text: str) -> str:
    return f"2026-01-01T{text}Z" if len(text) == 8 else text


def test_l3_after_an_outage_everybody_is_given_time_to_be_heard() -> None:
    liveness = make_liveness()

    assert tell(liveness, "01:00:00") == "01:00:00"
    assert tell(liveness, "01:00:02") == "01:00:00"
    liveness.not_heard()
    assert liveness.workers is None
    assert tell(liveness, "02:00:00") == "02:00:00"
    assert tell(liveness, "02:00:30") == "02:00:00"


def test_l3_a_silent_edge_keeps_its_workers_from_being_judged() -> None:
    liveness = make_liveness()
    assert tell(liveness, "01:00:00") == "01:00:00"
    assert tell(liveness, "01:00:10", edge=("01:00:00", "00:00:00")) == "01:00:00"

    down = tell(liveness, "01:00:20", edge=("01:00:00", "00:00:00"))
    still_down = tell(liveness, "01:09:00", edge=("01:00:00", "00:00:00"))
    back = tell(liveness, "01:10:05", edge=("01:10:05", "01:10:03"))
    later = tell(liveness, "01:11:00", edge=("01:11:00", "01:10:03"))

    assert (down, still_down) == ("01:00:20", "01:09:00")
    assert back == later == "01:10:03"


def test_l3_workers_that_use_no_edge_are_judged_without_one() -> None:
    liveness = make_liveness()
    for now in ("01:00:00", "01:05:00"):
        liveness.heard({"now": _full(now), "edges": {}, "workers": {"w1": WORKER}})

    assert liveness.workers is not None
    since = liveness.workers["w1"].heard_since
    assert since is not None
    assert since.isoformat() == "2026-01-01T01:00:00+00:00"


def test_l3_an_old_answer_counts_as_none() -> None:
    now = 0.0
    liveness = make_liveness(monotonic=lambda: now)
    liveness.heard({"now": "2026-01-01T01:00:00Z", "workers": {}})
    assert liveness.workers == {}

    now = 11.0

    assert liveness.workers is None


# -- L4 --------------------------------------------------------------------------------------


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
    shard.hints.clear()

    await sweep(replica)

    row = await shard.pool.fetchrow("SELECT * FROM noetl.outbox WHERE kind = 'command'")
    assert row is not None
    assert row["payload"]["fast"] == {"v": 1, "shard": 0, "attempts": 1}
    assert row["payload"]["command_id"] == held.command_id
    await eventually(lambda: shard.hints)
    assert shard.hints[0]["outbox_id"] == row["outbox_id"]
    assert shard.hints[0]["payload"] == row["payload"]
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


async def test_two_sweeps_at_once_announce_an_orphan_once(
    shard: Shard, replica: Replica, held: Command
) -> None:
    other = await shard.open_replica()
    await age_hold(shard, held, replica, 120)
    for one in (replica, other):
        await hear(shard, one, heartbeat_age=120)

    def announced() -> set[str]:
        ids = {hint["message_id"] for hint in shard.hints if hint["kind"] == "command"}
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
    """Between the look and the repetition the command has gone on."""
    await age_hold(shard, held, replica, 120)
    await hear(shard, replica, heartbeat_age=120)
    store = replica.parts.store
    notify_again = store.notify_again

    async def too_late(*args: Any, **options: Any) -> Any:
        if turns == "finished":
            assert await shard.send(held.execution_id, shard.fast(held)) == {"status": "ok"}
        else:
            claim = await shard.claim(held, worker="w2", instance="i2")
            assert claim["status"] == 200
        return await notify_again(*args, **options)

    store.notify_again = too_late  # type: ignore[method-assign]
    await sweep(replica)

    assert await renotified(shard, held) == []
    assert (await shard.command_row(held))["notifications"] == 0


# -- L5 --------------------------------------------------------------------------------------


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


# -- O3 --------------------------------------------------------------------------------------


async def make_unclaimed(shard: Shard, *, minutes: float = 2.0) -> None:
    await shard.pool.execute(
        "UPDATE noetl.command SET created_at = created_at - $1::interval,"
        " notified_at = notified_at - $1::interval",
        timedelta(minutes=minutes),
    )


async def publish_rows(shard: Shard, *, sequence: int) -> None:
    """Mark notifications as published, as the relay would."""
    info = orjson.loads(
        (await shard.bus.request("$JS.API.STREAM.INFO.NOETL_COMMANDS", timeout=2)).data
    )
    await shard.pool.execute(
        "UPDATE noetl.outbox SET status = 'PUBLISHED', published_at = now(),"
        " stream_created_at = $1, stream_sequence = $2 WHERE kind = 'command'",
        datetime.fromisoformat(info["created"][:26] + "+00:00"),
        sequence,
    )


async def test_o3_a_command_nobody_claims_is_sent_again_with_a_growing_pause(
    shard: Shard, replica: Replica
) -> None:
    command = await shard.command(await shard.start())
    await publish_rows(shard, sequence=1)
    await replica.parts.sweeper.sweep_unclaimed()
    assert await renotified(shard, command) == []

    await make_unclaimed(shard)
    await replica.parts.sweeper.sweep_unclaimed()
    first = await renotified(shard, command)
    await publish_rows(shard, sequence=2)
    await make_unclaimed(shard, minutes=1.5)
    await replica.parts.sweeper.sweep_unclaimed()
    too_early = await renotified(shard, command)
    await make_unclaimed(shard, minutes=1.5)
    await replica.parts.sweeper.sweep_unclaimed()
    second = await renotified(shard, command)

    assert first == [f"c:{command.event_id}:0:n2"]
    assert too_early == []
    assert second == [f"c:{command.event_id}:0:n3"]


async def test_o3_the_pause_grows_up_to_a_limit(shard: Shard, replica: Replica) -> None:
    """Sent again ten times: the next time comes after a quarter of an hour, not half a day."""
    command = await shard.command(await shard.start())
    await publish_rows(shard, sequence=1)
    await shard.pool.execute("UPDATE noetl.command SET notifications = 10")

    await make_unclaimed(shard, minutes=14)
    await replica.parts.sweeper.sweep_unclaimed()
    too_early = await renotified(shard, command)
    await make_unclaimed(shard, minutes=2)
    await replica.parts.sweeper.sweep_unclaimed()

    assert too_early == []
    assert await renotified(shard, command) == [f"c:{command.event_id}:0:n11"]


async def test_o3_what_merely_waits_in_the_stream_is_not_multiplied(
    shard: Shard, replica: Replica
) -> None:
    await ensure_durable(shard.bus, pool_durable("shared"))
    command = await shard.command(await shard.start())
    await publish_rows(shard, sequence=1)
    await make_unclaimed(shard)

    await replica.parts.sweeper.sweep_unclaimed()

    assert await renotified(shard, command) == []


async def test_o3_what_waited_in_a_stream_that_is_gone_is_sent_again(
    shard: Shard, replica: Replica
) -> None:
    await ensure_durable(shard.bus, pool_durable("shared"))
    command = await shard.command(await shard.start())
    await publish_rows(shard, sequence=1)
    await shard.pool.execute(
        "UPDATE noetl.outbox SET stream_created_at = stream_created_at - interval '1 day'"
    )
    await make_unclaimed(shard)

    await replica.parts.sweeper.sweep_unclaimed()

    assert await renotified(shard, command) == [f"c:{command.event_id}:0:n2"]


async def test_o3_what_the_relay_still_has_is_left_to_it(shard: Shard, replica: Replica) -> None:
    command = await shard.command(await shard.start())
    await make_unclaimed(shard)

    await replica.parts.sweeper.sweep_unclaimed()

    assert await renotified(shard, command) == []


async def test_o3_a_claimed_command_is_not_sent_again(
    shard: Shard, replica: Replica, held: Command
) -> None:
    await publish_rows(shard, sequence=1)
    await make_unclaimed(shard)

    await replica.parts.sweeper.sweep_unclaimed()

    assert await renotified(shard, held) == []


# -- fairness --------------------------------------------------------------------------------


async def test_f27_what_cannot_be_helped_does_not_keep_others_from_their_turn(
    shard: Shard,
) -> None:
    """Each look takes one: the oldest, of whom nobody ever hears, does not come up every time."""
    replica = await shard.open_replica(lease_sweep_limit=1)
    commands = [await shard.command(await shard.start()) for _ in range(3)]
    for command in commands[:2]:
        await shard.send(command.execution_id, shard.fast(command, "command.start"))
        await age_hold(shard, command, replica, 120)
    await publish_rows(shard, sequence=1)
    await make_unclaimed(shard)
    await hear(shard, replica, heartbeat_age=120)

    await sweep(replica)
    first = [await renotified(shard, command) for command in commands]
    for _ in range(2):
        await sweep(replica)
        await replica.parts.sweeper.sweep_unclaimed()

    assert sorted(map(len, first)) == [0, 0, 1]
    assert [len(await renotified(shard, command)) for command in commands] == [1, 1, 1]
