"""Pauses grow while there is nothing."""

import asyncio

from noetl_common.retry import Pace
from noetl_common.service import every
from noetl_testkit.waiting import eventually


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
