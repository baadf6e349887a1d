"""Retries and pauses: a decorator for calls, an iterator for loops, a pace for polling."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from time import monotonic
from typing import Self

import stamina

from noetl_common.errors import Transient

_LEAST_PAUSE_SECONDS = 0.5


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


def backoff(
    *,
    first_seconds: float,
    longest_seconds: float,
    total_seconds: float | None = None,
    jitter: float = 0.0,
    wake: "Wake | None" = None,
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
        wake: ends the pauses early, after which they are short again.
    """
    end = None if total_seconds is None else monotonic() + total_seconds
    return _Attempts(first_seconds, longest_seconds, end, jitter, wake)


class _Attempts:
    """The iterator of `backoff`.

    No generator: each request would leave a suspended one behind, which the loop then closes in
    a task of its own.
    """

    __slots__ = ("_attempt", "_end", "_first", "_jitter", "_longest", "_pause", "_wake")

    def __init__(
        self,
        first: float,
        longest: float,
        end: float | None,
        jitter: float,
        wake: "Wake | None",
    ) -> None:
        self._first = self._pause = first
        self._wake = wake
        self._longest = longest
        self._end = end
        self._jitter = jitter
        self._attempt = -1

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> int:
        self._attempt += 1
        if self._attempt:
            if self._end is not None and monotonic() + self._pause >= self._end:
                raise StopAsyncIteration
            share = 1 - self._jitter * random.random()  # noqa: S311 -- jitter
            if self._wake is None:
                await asyncio.sleep(self._pause * share)
            elif await self._wake.sleep(self._pause * share):
                self._pause = self._first
                return self._attempt
            self._pause = min(self._pause * 2, self._longest)
        return self._attempt


class Wake:
    """Ends the pauses of all who wait for the other side, once one of them has heard of it.

    A pause lasts for half a second nevertheless: what goes on failing while others are answered
    must not be tried each time.
    """

    def __init__(self) -> None:
        self._asleep: set[asyncio.Future[None]] = set()

    def __call__(self) -> None:
        """End the pauses of now."""
        if self._asleep:
            for one in self._asleep:
                if not one.done():
                    one.set_result(None)

    async def sleep(self, seconds: float) -> bool:
        """Sleep for a time, or until it is ended; return whether it was."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asleep.add(woken)
        try:
            least = min(seconds, _LEAST_PAUSE_SECONDS)
            await asyncio.sleep(least)
            async with asyncio.timeout(seconds - least):
                await woken
        except TimeoutError:
            return False
        finally:
            self._asleep.discard(woken)
        return True


class Pace:
    """Pauses between polls: short while there is work, doubling while there is none.

    Each look that finds nothing doubles the pause, so what a lost announcement leaves behind waits
    for about as long as it was quiet before, and for the longest pause at most.

    Args:
        shortest: seconds after a look that found something, or after ``reset``.
        longest: seconds at most.
    """

    def __init__(self, shortest: float, longest: float) -> None:
        self._shortest = shortest
        self._longest = max(shortest, longest)
        self._next = shortest

    def after(self, found: object) -> float:
        """Return the seconds to the next poll, given the result of the last one."""
        if found:
            self.reset()
        pause = self._next
        self._next = min(self._next * 2, self._longest)
        return pause

    def reset(self) -> None:
        """Begin with the shortest pause again: there is work."""
        self._next = self._shortest
