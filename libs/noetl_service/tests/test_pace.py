"""Pauses grow while there is nothing."""

import asyncio

from noetl_common.retry import Pace, Wake, backoff
from noetl_service.service import every
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually, unless_it_hangs


def test_pauses_double_up_to_the_longest_until_something_is_found() -> None:
    pace = Pace(1.0, 5.0)

    assert [pace.after(0) for _ in range(4)] == [1.0, 2.0, 4.0, 5.0]
    assert [pace.after(found) for found in (3, 0, 0)] == [1.0, 2.0, 4.0]
    pace.reset()
    assert pace.after(None) == 1.0


def test_without_a_longer_pause_all_are_equal() -> None:
    pace = Pace(2.0, 0.0)

    assert [pace.after(0) for _ in range(3)] == [2.0, 2.0, 2.0]


async def test_a_loop_rests_while_its_steps_find_nothing() -> None:
    steps: list[int] = []

    async def step() -> bool:
        steps.append(1)
        return len(steps) < 3

    loop = asyncio.create_task(every(0.001, step, warning="failed", longest_seconds=3600.0))
    try:
        # Were all pauses short, there would be thousands.
        await eventually(lambda: len(steps) >= 6)
        await asyncio.sleep(0)
        assert len(steps) < 20
    finally:
        loop.cancel()


async def test_who_pauses_goes_on_when_the_other_side_is_there_again() -> None:
    wake = Wake()
    tries: list[int] = []

    async def go_on_trying() -> None:
        async for attempt in backoff(
            first_seconds=PATIENCE_SECONDS, longest_seconds=PATIENCE_SECONDS, wake=wake
        ):
            tries.append(attempt)
            if attempt == 2:
                return

    trying = asyncio.create_task(go_on_trying())
    for number in (1, 2):
        await eventually(lambda: len(tries) == number and wake._asleep, what="it pauses")  # noqa: B023
        wake()
    async with unless_it_hangs():
        await trying

    assert tries == [0, 1, 2]
    assert not wake._asleep


async def test_a_wake_shortens_the_pauses_after_it_and_lengthens_none() -> None:
    wake = Wake()
    attempts = backoff(first_seconds=0.01, longest_seconds=PATIENCE_SECONDS, wake=wake)
    for _ in range(4):
        await anext(attempts)
    assert attempts._pause == 0.08  # type: ignore[attr-defined]
    going_on = asyncio.ensure_future(anext(attempts))
    await eventually(lambda: wake._asleep, what="it pauses")
    wake()
    await going_on

    assert attempts._pause == 0.01  # type: ignore[attr-defined]
