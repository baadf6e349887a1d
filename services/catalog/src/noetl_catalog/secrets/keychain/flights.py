"""Concurrent equal work of this process is done once for all callers (single flight)."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from weakref import WeakValueDictionary

from noetl_common.errors import NoetlError


class _Flight[Result]:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.ended_at = float("-inf")
        self.result: Result | None = None
        self.error: NoetlError | None = None

    async def done(self, work: Callable[[], Awaitable[Result]]) -> Result:
        self.result = self.error = None
        try:
            result = await work()
        except NoetlError as error:
            self.error = error
            self.ended_at = monotonic()
            raise
        self.result, self.ended_at = result, monotonic()
        return result


class Flights[Result]:
    """Work by key: callers that come while it is done share its result or error.

    Nothing is kept once no caller waits.
    """

    def __init__(self) -> None:
        self._flights: WeakValueDictionary[str, _Flight[Result]] = WeakValueDictionary()

    async def run(self, key: str, work: Callable[[], Awaitable[Result]]) -> Result | None:
        """Return the result of this work, or of the same work that ended while this one waited.

        Raises:
            NoetlError: what the work raised.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight()
        came_at = monotonic()
        async with flight.lock:
            if flight.ended_at < came_at:
                return await flight.done(work)
            if flight.error is not None:
                raise flight.error
            return flight.result
