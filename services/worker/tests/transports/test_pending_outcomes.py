"""The bound on outcomes without an answer."""

import asyncio

from noetl_testkit.waiting import PATIENCE_SECONDS
from noetl_worker.transports.fast.pending_outcomes import PendingOutcomes


async def test_unconfirmed_outcomes_are_bounded_in_number_and_bytes() -> None:
    pending_outcomes = PendingOutcomes(most=2, most_bytes=100)
    pending_outcomes.add(10)
    await asyncio.wait_for(pending_outcomes.room(), PATIENCE_SECONDS)
    pending_outcomes.add(90)
    waiting = asyncio.create_task(pending_outcomes.room())
    await asyncio.sleep(0)
    was_waiting = not waiting.done()
    pending_outcomes.remove(90)
    await asyncio.wait_for(waiting, PATIENCE_SECONDS)

    assert was_waiting
