"""Firing: each time once, whatever ends in between, and never beside what overlaps."""

import asyncio
from datetime import timedelta

import pytest
from noetl_catalog.schedules import launch
from noetl_contract.access.principal import Principal
from noetl_contract.access.rights import Right, Role
from noetl_contract.http.catalog.entries import RegisterAnswer
from noetl_contract.rpc import Refusal, RpcReply
from noetl_contract.rpc.schedules import ScheduleName
from noetl_testkit.waiting import eventually

from services.catalog.tests.schedules.conftest import Desk

MINUTELY = "cron: '* * * * *'"


async def test_a_due_schedule_starts_its_playbook_once(desk: Desk) -> None:
    await desk.register(MINUTELY)
    await desk.look()
    assert desk.shard.times == []

    await desk.look(seconds=61, times=3)

    assert desk.shard.times == ["2031-01-01T12:01:00+00:00"]
    (start,) = desk.shard.messages
    assert (start.path, start.version) == ("demo/work", 1)
    assert start.dedup_key == f"schedule:{await desk.id_of()}:2031-01-01T12:01:00Z"
    (firing,) = await desk.history()
    assert (firing.state, firing.status, firing.origin) == ("started", "RUNNING", "clock")
    assert firing.execution_id == str(start.execution_id)


async def test_replicas_share_what_is_due(desk: Desk) -> None:
    for one in range(30):
        await desk.register(MINUTELY, "overlap: allow", path=f"demo/timer{one}")
    desk.now += timedelta(seconds=60)
    replicas = [desk.replica(schedule_batch=7) for _ in range(3)]

    await asyncio.gather(*(one.firings.fire_due() for one in replicas for _ in range(4)))

    assert len(desk.shard.executions) == len(desk.shard.messages) == 30


async def test_a_replica_that_ends_before_the_answer_is_taken_over_without_a_second_execution(
    desk: Desk,
) -> None:
    await desk.register(MINUTELY)
    desk.now += timedelta(seconds=60)
    desk.shard.silent = 1
    gone = asyncio.create_task(desk.replica().firings.fire_due())
    await eventually(lambda: desk.shard.messages)
    gone.cancel()
    await asyncio.wait({gone})
    assert await desk.states() == ["starting"]

    await desk.look(seconds=4)
    assert await desk.states() == ["starting"]  # the lease holds
    await desk.look(seconds=2)

    first, second = desk.shard.messages
    assert first == second
    assert first.execution_id, "the decision has named it"
    assert desk.shard.times == ["2031-01-01T12:01:00+00:00"]
    assert await desk.states() == ["started"]


async def test_a_start_without_an_answer_is_sent_again_under_its_id(desk: Desk) -> None:
    await desk.register(MINUTELY, "overlap: allow")
    desk.shard.mute = "schedule:"
    await desk.look(seconds=60, by=desk.replica(schedule_start_seconds=0.5))
    assert await desk.states() == ["starting"]
    desk.shard.mute = None

    await desk.look(seconds=3)

    assert len({one.execution_id for one in desk.shard.messages}) == 1
    assert len(desk.shard.messages) >= 2
    assert len(desk.shard.executions) == 1
    assert await desk.states() == ["started"]


async def test_a_start_without_an_answer_is_copied_by_who_waits_for_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_COPY_AFTER_SECONDS", 0.05)
    await desk.register(MINUTELY)
    desk.shard.silent = 1

    await desk.look(seconds=60)

    first, copy = desk.shard.messages
    assert first == copy
    assert len(desk.shard.executions) == 1
    assert await desk.states() == ["started"]


async def test_a_start_without_an_answer_keeps_nothing_else_from_being_fired(desk: Desk) -> None:
    start = desk.now.isoformat()
    await desk.register("interval: 60s", f"start: {start}", "overlap: allow", path="demo/first")
    replica = desk.replica(schedule_lease_seconds=1)
    desk.shard.mute = f"schedule:{await desk.id_of('demo/first')}:"
    running = asyncio.create_task(replica.firings.run())
    try:
        desk.now += timedelta(seconds=60)
        replica.firings.wake()
        await eventually(lambda: desk.shard.messages)
        await desk.register("interval: 60s", f"start: {start}", path="demo/second")
        desk.now += timedelta(seconds=60)

        async def is_held() -> bool:
            look_at = (await desk.row("demo/first")).look_at
            return look_at is not None and look_at > desk.now

        # The first stays leased while it waits, and schedules due meanwhile don't wait for it.
        await eventually(is_held)
        replica.firings.wake()

        async def is_started() -> bool:
            return await desk.states("demo/second") == ["started"]

        await eventually(is_started)
        assert set(await desk.states("demo/first")) == {"starting"}
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_skip_leaves_out_what_overlaps(desk: Desk) -> None:
    await desk.register(MINUTELY)
    await desk.look(seconds=60)
    await desk.look(seconds=60)
    desk.shard.end()
    await desk.look(seconds=60)

    assert await desk.states() == ["started", "skipped", "started"]
    first, skipped, _ = await desk.history()
    assert skipped.reason is not None
    assert str(first.execution_id) in skipped.reason
    assert first.status == "COMPLETED"


async def test_queue_starts_one_after_the_other_in_order(desk: Desk) -> None:
    await desk.register(MINUTELY, "overlap: queue")
    for _ in range(4):
        await desk.look(seconds=60)
    assert await desk.states() == ["started", "queued", "queued", "queued"]
    await desk.replica().answers.on_pause(await _named(desk))

    await desk.look(seconds=60, times=2)
    assert len(desk.shard.executions) == 1
    await desk.replica().answers.on_resume(await _named(desk))
    for _ in range(3):
        desk.shard.end()
        await desk.look(seconds=30)

    assert desk.shard.times == [f"2031-01-01T12:0{one}:00+00:00" for one in (1, 2, 3, 4)]
    assert len(desk.shard.messages) == 4


async def test_a_full_queue_skips(desk: Desk) -> None:
    await desk.register("interval: 10s", "overlap: queue")
    replica = desk.replica(schedule_queue_limit=2)
    for _ in range(4):
        await desk.look(seconds=10, by=replica)

    assert await desk.states() == ["started", "queued", "queued", "skipped"]
    assert (await desk.history())[-1].reason == "2 firings are queued already"


async def test_cancel_ends_the_execution_before(desk: Desk) -> None:
    await desk.register(MINUTELY, "overlap: cancel")
    await desk.look(seconds=60)
    await desk.look(seconds=60)

    first, second = desk.shard.executions
    assert [one.execution_id for one in desk.shard.cancels] == [first]
    assert desk.shard.statuses == {first: "CANCELLED", second: "RUNNING"}
    assert [one.status for one in await desk.history()] == ["CANCELLED", "RUNNING"]


async def test_overlap_is_not_guessed_while_nobody_knows(desk: Desk) -> None:
    await desk.register(MINUTELY)
    await desk.look(seconds=60)
    desk.shard.is_away = True
    desk.shard.end()
    await desk.look(seconds=60)
    assert await desk.states() == ["started"]
    desk.shard.is_away = False

    await desk.look(seconds=3)

    assert await desk.states() == ["started", "started"]


async def test_after_an_outage_the_window_decides_what_is_caught_up(desk: Desk) -> None:
    await desk.register(MINUTELY, "overlap: allow", "catch_up: 5m")

    await desk.look(seconds=20 * 60, times=2)

    states = await desk.states()
    assert states == ["missed"] * 14 + ["started"] * 6
    assert (await desk.history())[0].reason == "more than 300 s late"


async def test_a_long_outage_is_one_entry(desk: Desk) -> None:
    await desk.register("interval: 1s", "overlap: skip", "catch_up: 60")

    await desk.look(seconds=100_000, times=3)

    missed = [one for one in await desk.history() if one.state == "missed"]
    assert len(missed) == 1
    assert missed[0].count == 500
    assert (missed[0].reason or "").startswith("more than 60 s late, all until 2031-01-02")
    assert len(desk.shard.executions) == 1


async def test_jitter_delays_each_time_by_its_own(desk: Desk) -> None:
    await desk.register("cron: '@hourly'", "jitter: 30m", "overlap: allow")
    (row,) = await desk.replica().store.list_schedules(path=None, stems=None, limit=1, after=None)
    assert row.next_at is not None
    delay = row.due_at(row.next_at) - row.next_at
    desk.now = row.due_at(row.next_at) - timedelta(seconds=1)
    await desk.look()
    assert desk.shard.times == []

    await desk.look(seconds=1)

    assert desk.shard.times == ["2031-01-01T13:00:00+00:00"]
    assert timedelta(0) < delay <= timedelta(minutes=30)


async def test_a_refused_start_is_told(desk: Desk) -> None:
    await desk.register(MINUTELY)
    desk.shard.refuses = RpcReply(status=422, error="Workflow must have a step named 'start'")
    await desk.look(seconds=60)
    desk.shard.refuses = None
    await desk.look(seconds=60)

    failed, _ = await desk.history()
    assert (failed.state, failed.execution_id) == ("failed", None)
    assert failed.reason == "Workflow must have a step named 'start'"
    assert desk.shard.times == ["2031-01-01T12:02:00+00:00"]


async def test_a_playbook_that_is_not_there(desk: Desk) -> None:
    await desk.register(MINUTELY, "version: 7")
    await desk.look(seconds=60)

    assert [one.reason for one in await desk.history()] == [
        "Playbook not found: demo/work version 7"
    ]


async def test_executions_belong_to_who_registered(desk: Desk) -> None:
    author = Principal(name="ann", kind="key", roles=(Role.AUTHOR,), namespaces=("demo/",))
    assert isinstance(await desk.register(MINUTELY, who=author), RegisterAnswer)

    await desk.look(seconds=60)

    (start,) = desk.shard.messages
    assert (start.owner, start.actor, start.namespace) == ("ann", "ann", "demo/")


async def test_a_schedule_starts_only_what_its_author_may_start(desk: Desk) -> None:
    elsewhere = Principal(name="ann", kind="key", roles=(Role.AUTHOR,), namespaces=("team/",))
    registrar = Principal(
        name="reg", kind="key", grants=(Right.CATALOG_REGISTER,), namespaces=("demo/",)
    )

    far = await desk.register(MINUTELY, path="team/timer", who=elsewhere)
    unable = await desk.register(MINUTELY, who=registrar)

    assert far == Refusal(403, "'demo/work' is outside of the namespaces of ann")
    assert unable == Refusal(403, "The right `executions.start` is missing")


async def test_a_new_version_goes_on_with_what_is_due(desk: Desk) -> None:
    await desk.register(MINUTELY)
    desk.now += timedelta(seconds=61)
    await desk.register(MINUTELY, "catch_up: 5m")
    await desk.look()
    assert desk.shard.times == ["2031-01-01T12:01:00+00:00"]

    await desk.register("cron: '30 * * * *'")
    await desk.look(seconds=600)

    assert len(desk.shard.times) == 1
    (row,) = await desk.replica().store.list_schedules(path=None, stems=None, limit=1, after=None)
    assert row.next_at is not None
    assert (row.version, row.next_at.minute) == (3, 30)


async def test_a_deleted_schedule_ends_and_a_restored_one_goes_on(desk: Desk) -> None:
    await desk.register(MINUTELY)
    entries = desk.entries()
    await entries.set_deleted("demo/timer", version=None, is_deleted=True)
    await desk.look(seconds=60)
    assert await desk.states() == []
    (row,) = await desk.replica().store.list_schedules(path=None, stems=None, limit=1, after=None)
    assert (row.ended, row.next_at) == ("its document was deleted", None)

    await entries.set_deleted("demo/timer", version=None, is_deleted=False)
    await desk.look(seconds=60)
    await desk.look(seconds=60)

    assert await desk.states() == ["started"]


async def test_another_document_of_the_path_ends_the_schedule(desk: Desk) -> None:
    await desk.register(MINUTELY)
    await desk.keep(
        "kind: Playbook\nmetadata: {path: demo/timer}\n"
        "workflow:\n- step: start\n  tool: {kind: noop}\n"
    )

    await desk.look(seconds=60)

    assert desk.shard.messages == []
    (row,) = await desk.replica().store.list_schedules(path=None, stems=None, limit=1, after=None)
    assert row.ended == "its path belongs to another document now"


async def test_a_schedule_ends_with_its_last_time(desk: Desk) -> None:
    await desk.register(MINUTELY, "overlap: allow", "end: 2031-01-01T12:02:00Z")

    await desk.look(seconds=60)
    await desk.look(seconds=600)

    assert await desk.states() == ["started"]
    (row,) = await desk.replica().store.list_schedules(path=None, stems=None, limit=1, after=None)
    assert (row.ended, row.look_at) == ("it has no times any more", None)


async def test_two_replicas_fire_each_time_of_many_schedules_once(desk: Desk) -> None:
    schedules, minutes = 40, 5
    for one in range(schedules):
        await desk.register(MINUTELY, "overlap: allow", path=f"demo/many{one:04}")
    replicas = [desk.replica(), desk.replica()]
    for _ in range(minutes):
        desk.now += timedelta(seconds=60)
        await asyncio.gather(*(one.firings.fire_due() for one in replicas))

    assert len(desk.shard.messages) == len(desk.shard.executions) == schedules * minutes


async def _named(desk: Desk) -> ScheduleName:
    return ScheduleName(schedule_id=await desk.id_of())
