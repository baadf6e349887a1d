"""Backfills: what was not started is started, once, however often one is interrupted."""

import asyncio
import random
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from noetl_catalog.schedules import launch
from noetl_contract.access.principal import Principal
from noetl_contract.access.rights import Role
from noetl_contract.http.catalog.schedules import BackfillAnswer
from noetl_contract.rpc import Refusal, RpcReply
from noetl_contract.rpc.schedules import Backfill

from services.catalog.tests.schedules.conftest import Desk


async def step(
    desk: Desk, begin: str, end: str, *, parallel: int = 4, who: Principal | None = None
) -> BackfillAnswer | Refusal:
    return await desk.replica().answers.on_backfill(
        Backfill(
            schedule_id=await desk.id_of(),
            begin=datetime.fromisoformat(begin).replace(tzinfo=UTC),
            to=datetime.fromisoformat(end).replace(tzinfo=UTC),
            parallel=parallel,
            principal=who,
        )
    )


async def done(desk: Desk, begin: str, end: str, *, parallel: int = 4) -> BackfillAnswer:
    """Ask on until it is over, everything ending at once."""
    while True:
        answer = await step(desk, begin, end, parallel=parallel)
        assert isinstance(answer, BackfillAnswer)
        assert answer.running <= parallel
        if answer.is_over:
            return answer
        desk.shard.end()


async def test_a_year_interrupted_three_times_starts_each_day_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_COPY_AFTER_SECONDS", 1.5)
    desk.settings = desk.settings.model_copy(update={"schedule_start_seconds": 2.0})
    await desk.register("cron: '30 2 * * *'", "timezone: Europe/Berlin")
    chance = random.Random(7)  # noqa: S311 -- a test
    for _ in range(3):
        # A caller that goes away in the midst of it, at any place.
        run = asyncio.create_task(done(desk, "2029-01-01", "2030-01-01", parallel=30))
        with suppress(TimeoutError):
            async with asyncio.timeout(chance.uniform(0.1, 1.0)):
                await run
        desk.shard.silent = 3  # answers that are lost

    answer = await done(desk, "2029-01-01", "2030-01-01", parallel=60)

    assert (answer.total, answer.completed) == (365, 365)
    assert len(desk.shard.executions) == 365
    assert len({one.dedup_key for one in desk.shard.messages}) == 365
    assert len({one.execution_id for one in desk.shard.messages}) == 365
    assert {one.state for one in await desk.history()} == {"started"}


async def test_no_more_run_at_once_than_asked(desk: Desk) -> None:
    await desk.register("cron: '@daily'")

    first = await step(desk, "2030-01-01", "2030-01-11", parallel=3)
    second = await step(desk, "2030-01-01", "2030-01-11", parallel=3)

    assert isinstance(first, BackfillAnswer)
    assert isinstance(second, BackfillAnswer)
    assert (first.started, first.running, first.waiting, first.is_over) == (3, 3, 7, False)
    assert (second.started, second.running) == (0, 3)
    assert len(desk.shard.times) == 3


async def test_what_the_clock_started_stays_and_what_it_left_out_is_started(desk: Desk) -> None:
    await desk.register("cron: '* * * * *'")
    for _ in range(3):
        await desk.look(seconds=60)
    assert await desk.states() == ["started", "skipped", "skipped"]
    desk.shard.end()

    answer = await done(desk, "2031-01-01T12:00", "2031-01-01T12:10")

    # The time of now is the clock's still, and 12:00 was before the registration.
    assert (answer.total, answer.completed) == (3, 3)
    assert sorted(desk.shard.times) == [f"2031-01-01T12:0{one}:00+00:00" for one in range(3)]
    assert [one.origin for one in await desk.history()] == [
        *("backfill", "clock", "backfill", "clock"),
    ]


async def test_executions_that_failed_are_counted_and_not_started_again(desk: Desk) -> None:
    await desk.register("cron: '@daily'")
    await step(desk, "2030-01-01", "2030-01-03")
    desk.shard.end("FAILED")

    answer = await done(desk, "2030-01-01", "2030-01-03")

    assert (answer.total, answer.failed, answer.started) == (2, 2, 0)
    assert len(desk.shard.messages) == 2


async def test_a_refused_start_is_told_and_tried_again_when_asked_again(desk: Desk) -> None:
    await desk.register("cron: '@daily'")
    desk.shard.refuses = RpcReply(status=422, error="no such step")

    refused = await step(desk, "2030-01-01", "2030-01-02")
    desk.shard.refuses = None
    answer = await done(desk, "2030-01-01", "2030-01-02")

    assert isinstance(refused, BackfillAnswer)
    assert (refused.refused, refused.is_over) == (1, False)
    assert refused.reason == "2030-01-01T00:00:00Z: no such step"
    assert answer.completed == 1


async def test_a_long_range_is_done_in_parts(desk: Desk) -> None:
    await desk.register("interval: 60s")

    answer = await step(desk, "2030-01-01", "2030-01-03", parallel=1)

    assert isinstance(answer, BackfillAnswer)
    assert (answer.total, answer.until) == (1000, "2030-01-01T16:40:00Z")


async def test_times_to_come_are_the_clock_s(desk: Desk) -> None:
    await desk.register("cron: '@hourly'")

    answer = await done(desk, "2031-01-01T10:00", "2031-01-01T20:00")

    assert (answer.total, answer.until) == (2, "2031-01-01T20:00:00Z")


async def test_only_who_reaches_schedule_and_playbook_may(desk: Desk) -> None:
    await desk.register("cron: '@daily'")
    near = Principal(name="op", kind="key", roles=(Role.OPERATOR,), namespaces=("demo/timer",))
    far = Principal(name="op", kind="key", roles=(Role.OPERATOR,), namespaces=("team/",))

    without_playbook = await step(desk, "2030-01-01", "2030-01-02", who=near)
    without_schedule = await step(desk, "2030-01-01", "2030-01-02", who=far)

    assert without_playbook == Refusal(403, "'demo/work' is out of reach of op")
    assert without_schedule == Refusal(404, f"Schedule not found: {await desk.id_of()}")
    assert desk.shard.messages == []
