"""The bound on outcomes that wait for their answer."""

import asyncio

from noetl_worker import metrics


class PendingOutcomes:
    """Count and bytes of unanswered outcomes; above a bound no command may begin."""

    def __init__(self, *, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._count = 0
        self._bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        metrics.UNCONFIRMED.set_function(lambda: self._count)
        self._none = asyncio.Event()
        self._none.set()

    @property
    def count(self) -> int:
        """Number of unanswered outcomes."""
        return self._count

    def add(self, size: int) -> None:
        """Count an outcome."""
        self._count += 1
        self._bytes += size
        self._changed()

    def remove(self, size: int) -> None:
        """Stop counting an outcome, which has its answer."""
        self._count -= 1
        self._bytes -= size
        self._changed()

    @property
    def has_room(self) -> bool:
        """Whether there are fewer than the bound."""
        return self._room.is_set()

    async def room(self) -> None:
        """Wait until there is room below the bound."""
        await self._room.wait()

    async def emptied(self) -> None:
        """Wait until none is left."""
        await self._none.wait()

    def _changed(self) -> None:
        full = self._count >= self._most or self._bytes >= self._most_bytes
        (self._room.clear if full else self._room.set)()
        (self._none.clear if self._count else self._none.set)()
