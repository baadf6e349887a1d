"""One request for everybody who asks the same at the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class _Lane[Answer]:
    """The requests of one key: at most one is on its way, and one waits for it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: asyncio.Task[Answer] | None = None


class Rounds[Key: Hashable, Answer]:
    """Ask once for all callers who came before the asking.

    An answer is never older than the call that gets it: who comes while a request is on its way
    waits for its end and shares the next one. A crowd so costs one request at a time, and who is
    alone waits for nobody.
    """

    def __init__(self) -> None:
        self._lanes: dict[Key, _Lane[Answer]] = {}

    def __len__(self) -> int:
        """Return the number of keys that are being asked for."""
        return len(self._lanes)

    async def ask(self, key: Key, request: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return the answer to a request that begins now or later.

        A caller who goes away takes nobody's answer along. It waits for two requests at most, so
        for twice the timeout of one.

        Args:
            key: says what is asked; equal keys get one answer.
            request: makes the request, in the context of the first who asked. It has a timeout.

        Raises:
            Exception: what the request raised.
        """
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane()
        if lane.waiting is None:
            lane.waiting = asyncio.create_task(self._round(key, lane, request))
            lane.waiting.add_done_callback(_note)
        return await asyncio.shield(lane.waiting)

    async def _round(
        self, key: Key, lane: _Lane[Answer], request: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        async with lane.lock:
            # Whoever comes from here on is not answered by this request.
            lane.waiting = None
            try:
                return await request()
            finally:
                if lane.waiting is None:
                    del self._lanes[key]


def _note(task: asyncio.Task[object]) -> None:
    """Take the error of a request whose callers have all gone away."""
    if not task.cancelled():
        task.exception()
