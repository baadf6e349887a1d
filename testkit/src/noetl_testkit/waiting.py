"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

import asyncio
import time
from collections.abc import Awaitable, Callable


def wait_for[Value](
    look: Callable[[], Value | None],
    *,
    what: str = "there is a value",
    timeout_seconds: float = 30.0,
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
    timeout_seconds: float = 30.0,
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
