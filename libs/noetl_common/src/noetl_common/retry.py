"""Trying again: one decorator for calls, one iterator for loops; bounded and jittered."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from time import monotonic

import stamina

from noetl_common.errors import Transient


def retry[**P, R](
    *,
    on: type[Exception] | tuple[type[Exception], ...] = Transient,
    attempts: int = 5,
    timeout_seconds: float = 30.0,
    wait_initial_seconds: float = 0.1,
    wait_max_seconds: float = 5.0,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Call a function again while it fails with ``on``, with exponential, jittered pauses.

    The last error is raised when attempts or time are used up. For functions that are safe to
    repeat. Retries are logged and counted (``stamina_retries_total``).
    """
    return stamina.retry(
        on=on,
        attempts=attempts,
        timeout=timeout_seconds,
        wait_initial=wait_initial_seconds,
        wait_max=wait_max_seconds,
        wait_jitter=min(1.0, wait_max_seconds),
    )


async def backoff(
    *,
    first_seconds: float,
    longest_seconds: float,
    total_seconds: float | None = None,
    jitter: float = 0.0,
) -> AsyncIterator[int]:
    """Yield the numbers of attempts, from 0, with a pause before each but the first.

    The pause doubles from ``first_seconds`` to ``longest_seconds``. The loop ends when the next
    pause would end after ``total_seconds``; leave it by ``return`` or ``break`` on success::

        async for _ in backoff(first_seconds=0.1, longest_seconds=2.0, total_seconds=30):
            if await is_there():
                return
        raise Unavailable(what="it")

    Args:
        first_seconds: the first pause.
        longest_seconds: the longest pause.
        total_seconds: for how long to try; for ever if None.
        jitter: the part of each pause, from 0 to 1, that is left to chance.
    """
    end = None if total_seconds is None else monotonic() + total_seconds
    pause, attempt = first_seconds, 0
    while True:
        yield attempt
        if end is not None and monotonic() + pause >= end:
            return
        await asyncio.sleep(pause * (1 - jitter * random.random()))  # noqa: S311 -- jitter
        pause = min(pause * 2, longest_seconds)
        attempt += 1
