"""Loops sleep until a row is due; a row unknown to them is late by one question at most."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from noetl_common.clock import ServerClock
from noetl_orchestrator.log.stored_rows import NextLooks
from noetl_orchestrator.loops import run_timers
from noetl_orchestrator.memory.agenda import Agenda
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

from services.orchestrator.tests.playbooks import LINEAR
from services.orchestrator.tests.shard import Shard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SOON, LATER = timedelta(milliseconds=50), timedelta(hours=1)


@dataclass
class Timer:
    """A timer of a commit."""

    due_at: datetime


@dataclass
class Held:
    """A command that a commit leaves held."""

    lease_until: datetime | None


class Answers:
    """A database whose answers the test sets."""

    def __init__(self) -> None:
        self.clock = ServerClock()
        self.timer: datetime | None = None
        self.lease: datetime | None = None
        self.error: Exception | None = None
        self.meanwhile: Callable[[], None] = lambda: None
        self.agenda = Agenda(self.read, self.clock)

    async def read(self) -> NextLooks:
        if self.error is not None:
            raise self.error
        answer = NextLooks(now=self.now, timer=self.timer, lease=self.lease, pending=None)
        self.meanwhile()
        return answer

    @property
    def now(self) -> datetime:
        return self.clock.now()


async def test_before_the_first_answer_everything_may_be_due() -> None:
    agenda = Answers().agenda

    assert agenda.is_timer_due()
    assert agenda.is_lease_over()
    assert agenda.has_pending


async def test_a_timer_of_a_commit_ends_the_sleep_for_a_later_one() -> None:
    known = Answers()
    known.timer = known.now + LATER
    await known.agenda.ask()
    waiting = asyncio.create_task(known.agenda.wait_for_timer(60.0))
    await asyncio.sleep(0)
    assert not waiting.done()

    due = known.now + SOON
    known.agenda.note(timers=[Timer(due)], changes=[])

    assert await asyncio.wait_for(waiting, PATIENCE_SECONDS)
    assert known.now >= due


async def test_nothing_due_is_said_after_the_longest_time() -> None:
    known = Answers()
    await known.agenda.ask()

    assert not await known.agenda.wait_for_timer(0.02)
    assert not known.agenda.has_leases
    assert not known.agenda.is_lease_over()


async def test_what_commits_say_during_a_question_outlives_its_answer() -> None:
    known = Answers()
    known.meanwhile = lambda: known.agenda.note(
        timers=[Timer(known.now - SOON)], changes=[Held(known.now - SOON), Held(None)]
    )
    await known.agenda.ask()

    assert known.agenda.is_timer_due()
    assert known.agenda.is_lease_over()


async def test_a_question_without_an_answer_forgets_nothing() -> None:
    known = Answers()
    known.timer = known.lease = known.now + LATER
    await known.agenda.ask()
    known.agenda.note(timers=[Timer(known.now - SOON)], changes=[Held(known.now - SOON)])
    known.error = ConnectionError("away")
    with pytest.raises(ConnectionError):
        await known.agenda.ask()

    assert known.agenda.is_timer_due()
    assert known.agenda.is_lease_over()


async def test_w20_idle_loops_look_for_timers_only_when_one_is_due(shard: Shard) -> None:
    """The replica's own timer is on time; another replica's leftover is found by a question."""
    replica = await shard.open_replica()
    rooms, store = replica.rooms, replica.rooms.store
    looks = counting(store, "take_timers")
    await rooms.agenda.ask()
    loop = asyncio.create_task(run_timers(rooms, replica.settings))
    try:
        text = LINEAR.replace("workflow:", "spec: {timeout: 1}\nworkflow:")
        execution_id = await shard.start(text)

        async def has_ended() -> bool:
            return "playbook.failed" in await shard.types(execution_id)

        await eventually(has_ended)
        assert len(looks) == 1

        await shard.pool.execute(
            "INSERT INTO noetl.timer (timer_id, execution_id, due_at, kind, payload)"
            " VALUES (1, 1, now(), 'deadline', '{}')"
        )
        await rooms.agenda.ask()
        await eventually(lambda: len(looks) == 2)
    finally:
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop


def counting(store: object, name: str) -> list[int]:
    """Count the calls of a method."""
    calls: list[int] = []
    inner: Callable[..., Awaitable[object]] = getattr(store, name)

    async def counted(**arguments: object) -> object:
        calls.append(1)
        return await inner(**arguments)

    setattr(store, name, counted)
    return calls
