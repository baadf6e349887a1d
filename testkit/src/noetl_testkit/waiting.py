"""Waiting for a condition, instead of sleeping and hoping.

The bounds are against hanging only. A test says what it waits for and never for how long, so that
it passes on a machine of any speed and load; how long something takes is measured in `benchmarks`.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

PATIENCE_SECONDS = 600.0 * float(os.environ.get("NOETL_TEST_PATIENCE", "1"))
"""Time after which anything in a test counts as hanging; the only such time there is.

A run that passes never waits for it. `NOETL_TEST_PATIENCE` multiplies it, on machines that are
slower by orders of magnitude.
"""


def unless_it_hangs() -> asyncio.Timeout:
    """Return a block for awaiting an event; ``TimeoutError`` ends it when that doesn't come."""
    return asyncio.timeout(PATIENCE_SECONDS)


def wait_for[Value](
    look: Callable[[], Value | None],
    *,
    what: str = "there is a value",
    timeout_seconds: float = PATIENCE_SECONDS,
    every_seconds: float = 0.02,
) -> Value:
    """Look until there is a value and return it; None means not yet.

    Raises:
        TimeoutError: there was none in time.
    """
    deadline = time.monotonic() + timeout_seconds
    while (value := look()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {timeout_seconds} s still not true: {what}")
        time.sleep(every_seconds)
    return value


def wait_until(
    condition: Callable[[], object],
    *,
    what: str = "the condition holds",
    timeout_seconds: float = PATIENCE_SECONDS,
    every_seconds: float = 0.02,
) -> None:
    """Block until the condition is true.

    Raises:
        TimeoutError: it did not become true in time.
    """
    wait_for(
        lambda: True if condition() else None,
        what=what,
        timeout_seconds=timeout_seconds,
        every_seconds=every_seconds,
    )


async def eventually(
    condition: Callable[[], Awaitable[object]] | Callable[[], object],
    *,
    what: str = "the condition holds",
    timeout_seconds: float = PATIENCE_SECONDS,
    every_seconds: float = 0.02,
) -> None:
    """Wait in a coroutine until the condition, plain or awaitable, is true.

    Raises:
        TimeoutError: it did not become true in time.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {timeout_seconds} s still not true: {what}")
        await asyncio.sleep(every_seconds)
