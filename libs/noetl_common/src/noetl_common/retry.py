"""Retries: a decorator for calls, an iterator for loops, and pauses between polls."""

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
    """Retry a function while it raises ``on``, with exponential, jittered pauses.

    The function has to be safe to repeat. After the last attempt, or the timeout, its error is
    raised. Retries are logged and counted (``stamina_retries_total``).
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
    """Yield the numbers of attempts, from 0, with a pause before each attempt but the first.

    The pause doubles from ``first_seconds`` to ``longest_seconds``. The loop ends if the next pause
    would end after ``total_seconds``; on success, leave it by ``return`` or ``break``::

        async for _ in backoff(first_seconds=0.1, longest_seconds=2.0, total_seconds=30):
            if await is_there():
                return
        raise Unavailable(what="the server")

    Args:
        first_seconds: the first pause.
        longest_seconds: the longest pause.
        total_seconds: time after which the loop ends; None for an endless loop.
        jitter: random part of each pause, from 0 to 1.
        wake: ends a pause early, after which pauses are short again.
    """
    end = None if total_seconds is None else monotonic() + total_seconds
    return _Attempts(first_seconds, longest_seconds, end, jitter, wake)


class _Attempts:
    """The iterator of `backoff`.

    A generator would stay suspended after each ``break``, and the event loop would have to close it
    in a task of its own.
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
    """Ends the pauses of all retry loops of one server, once the server answers one of them.

    A pause lasts at least half a second: a request that keeps failing while others succeed must not
    be retried after every success.
    """

    def __init__(self) -> None:
        self._asleep: set[asyncio.Future[None]] = set()

    def __call__(self) -> None:
        """End the current pauses."""
        if self._asleep:
            for one in self._asleep:
                if not one.done():
                    one.set_result(None)

    async def sleep(self, seconds: float) -> bool:
        """Sleep for a time, or until woken; return whether it was woken."""
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

    Each empty poll doubles the pause. If a notification is lost, its work waits about as long as
    the source was quiet before, and at most for the longest pause.

    Args:
        shortest: seconds after a poll that found work, or after ``reset``.
        longest: maximum of seconds.
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
        """Use the shortest pause next, because there is work."""
        self._next = self._shortest
