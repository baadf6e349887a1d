"""Reads of schedules: pages, times to come, history, and what a caller doesn't reach."""

from noetl_contract.access.principal import Principal
from noetl_contract.access.rights import Role
from noetl_contract.http.catalog.schedules import FiringList, NextTimes, ScheduleBody
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.schedules import (
    HistoryRequest,
    NextRequest,
    ScheduleName,
    SchedulePage,
)

from services.catalog.tests.schedules.conftest import Desk

OPERATOR = Principal(name="op", kind="key", roles=(Role.OPERATOR,), namespaces=("demo/",))


async def test_lists_are_by_path_in_pages_and_in_reach(desk: Desk) -> None:
    for path in ("demo/b", "demo/a", "team/c"):
        await desk.register("cron: '@daily'", path=path)
    answers = desk.replica().answers

    first = await answers.on_list(SchedulePage(limit=2))
    rest = await answers.on_list(SchedulePage(limit=2, after=first.after))
    mine = await answers.on_list(SchedulePage(principal=OPERATOR))

    assert [one.path for one in first.schedules] == ["demo/a", "demo/b"]
    assert ([one.path for one in rest.schedules], rest.after) == (["team/c"], None)
    assert [one.path for one in mine.schedules] == ["demo/a", "demo/b"]
    hidden = ScheduleName(schedule_id=await desk.id_of("team/c"), principal=OPERATOR)
    for ask in (answers.on_get, answers.on_pause, answers.on_resume):
        assert await ask(hidden) == Refusal(404, f"Schedule not found: {hidden.schedule_id}")


async def test_pause_and_resume_are_told_with_who_did_it(desk: Desk) -> None:
    await desk.register("cron: '* * * * *'")
    answers = desk.replica().answers
    name = ScheduleName(schedule_id=await desk.id_of(), principal=OPERATOR)

    paused = await answers.on_pause(name)
    again = await answers.on_pause(name.model_copy(update={"principal": None}))
    await desk.look(seconds=600)
    resumed = await answers.on_resume(name)

    assert isinstance(paused, ScheduleBody)
    assert (paused.state, paused.paused_by, paused.next_at) == ("paused", "op", None)
    assert again == paused
    assert isinstance(resumed, ScheduleBody)
    assert (resumed.state, resumed.paused_by) == ("active", None)
    assert resumed.next_at == "2031-01-01T12:11:00Z"
    assert await desk.states() == []


async def test_a_new_version_leaves_a_pause_unless_it_says_otherwise(desk: Desk) -> None:
    await desk.register("cron: '* * * * *'", "paused: true")
    await desk.register("cron: '* * * * *'", "catch_up: 5m")
    assert (await desk.row()).paused_at is not None

    await desk.register("cron: '* * * * *'", "paused: false")

    row = await desk.row()
    assert (row.paused_at, row.version) == (None, 3)
    await desk.look(seconds=60)
    assert await desk.states() == ["started"]


async def test_times_to_come(desk: Desk) -> None:
    await desk.register("cron: '30 2 * * *'", "timezone: Europe/Berlin", "jitter: 10m")
    found = await desk.replica().answers.on_next(
        NextRequest(schedule_id=await desk.id_of(), count=2)
    )

    assert isinstance(found, NextTimes)
    assert [one.local for one in found.times] == [
        "2031-01-02T02:30:00+01:00",
        "2031-01-03T02:30:00+01:00",
    ]
    assert all(one.scheduled_at < one.due_at for one in found.times)


async def test_history_is_read_in_pages_and_by_state(desk: Desk) -> None:
    await desk.register("cron: '* * * * *'")
    for _ in range(3):
        await desk.look(seconds=60)
    answers = desk.replica().answers
    name = await desk.id_of()

    newest = await answers.on_history(HistoryRequest(schedule_id=name, limit=1))
    assert isinstance(newest, FiringList)
    before = newest.firings[0].scheduled_at
    older = await answers.on_history(HistoryRequest(schedule_id=name, before=before))
    skipped = await answers.on_history(HistoryRequest(schedule_id=name, state="skipped"))
    wrong = await answers.on_history(HistoryRequest(schedule_id=name, before="yesterday"))

    assert isinstance(older, FiringList)
    assert isinstance(skipped, FiringList)
    assert [one.state for one in older.firings] == ["skipped", "started"]
    assert len(skipped.firings) == 2
    assert wrong == Refusal(422, "before is not a time (RFC 3339)")
    desk.shard.is_away = True
    silent = await answers.on_history(HistoryRequest(schedule_id=name))
    assert isinstance(silent, FiringList)
    assert [one.status for one in silent.firings] == [None, None, None]
