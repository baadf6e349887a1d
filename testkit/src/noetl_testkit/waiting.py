"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

import asyncio
import time
from collections.abc import Awaitable, Callable


def wait_until(
    condition: Callable[[], object],
    *,
    what: str = "the condition holds",
    timeout_seconds: float = 30.0,
    every_seconds: float = 0.02,
) -> None:
    """Blocks until the condition is true.

    Raises:
        TimeoutError: it did not become true in time.
    """
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {timeout_seconds} s still not true: {what}")
        time.sleep(every_seconds)


async def eventually(
    condition: Callable[[], Awaitable[object]] | Callable[[], object],
    *,
    what: str = "the condition holds",
    timeout_seconds: float = 30.0,
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
