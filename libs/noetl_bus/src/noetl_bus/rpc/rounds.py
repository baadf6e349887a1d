"""One request for all callers that need the same answer at the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class _Lane[Answer]:
    """The requests of one key: at most one is running, and one waits for its end."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: asyncio.Task[Answer] | None = None


class Rounds[Key: Hashable, Answer]:
    """Shares one request among callers, without returning an answer that is older than the call.

    A caller that arrives while a request is running waits for its end and shares the next request.
    So many callers cost one request at a time, and a single caller doesn't wait.
    """

    def __init__(self) -> None:
        self._lanes: dict[Key, _Lane[Answer]] = {}

    def __len__(self) -> int:
        """Return the number of keys with a request."""
        return len(self._lanes)

    async def ask(self, key: Key, request: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return the answer to a request that begins now or later.

        If a caller is cancelled, other callers still get the answer. A caller waits for at most two
        requests, which is twice the timeout of one.

        Args:
            key: callers with the same key share a request.
            request: makes the request, in the context of the first caller. It has a timeout.

        Raises:
            Exception: the error of the request.
        """
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane()
        if lane.waiting is None:
            lane.waiting = asyncio.create_task(self._round(key, lane, request))
            lane.waiting.add_done_callback(_retrieve_error)
        return await asyncio.shield(lane.waiting)

    async def _round(
        self, key: Key, lane: _Lane[Answer], request: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        async with lane.lock:
            # Callers that arrive from now on share the next request.
            lane.waiting = None
            try:
                return await request()
            finally:
                if lane.waiting is None:
                    del self._lanes[key]


def _retrieve_error(task: asyncio.Task[object]) -> None:
    """Retrieve the error of a request whose callers were all cancelled, so that it isn't logged."""
    if not task.cancelled():
        task.exception()
