"""Rate at which executions are started."""

import asyncio
from time import monotonic


class Pace:
    """A bucket of starts that fills with so many a second; None for no bound."""

    def __init__(self, per_second: int | None) -> None:
        self._per_second = per_second
        self._left = float(per_second or 0)
        self._at = monotonic()
        self._turn = asyncio.Lock()

    async def take(self, count: int) -> bool:
        """Wait for so many starts; return whether there was a wait."""
        if self._per_second is None:
            return False
        async with self._turn:
            self._fill()
            self._left -= count
            if self._left >= 0:
                return False
            await asyncio.sleep(-self._left / self._per_second)
            return True

    def _fill(self) -> None:
        now = monotonic()
        rate = float(self._per_second or 0)
        self._left = min(rate, self._left + (now - self._at) * rate)
        self._at = now
