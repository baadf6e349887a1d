"""The clock of another server, estimated between its answers.

Leases, deadlines and the times in the log use the database's clock (L3, S2), which every commit
returns; how old a command is, workers tell by the broker's (L5). In between the monotonic clock of
the process continues from there, so its wall clock may be wrong, and a leap of the server's is
known with its next answer.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from noetl_common.logging import get_logger

_log = get_logger()
_INACCURACY = timedelta(seconds=5)
_LEAP_SECONDS = 2.0


class ServerClock:
    """Estimate a server's time; exact to about half a round trip.

    Attributes:
        leapt: each is called when the server's clock is found to have leapt against this
            process's, forward or back.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.leapt: list[Callable[[], None]] = []
        self._monotonic = monotonic
        self._ahead: tuple[float, float] | None = None
        self._base = datetime.now(UTC)
        self._read_at = monotonic()
        self._last = self._base

    def reading(self) -> float:
        """Return the process's own clock, for ``asked_at``."""
        return self._monotonic()

    def set(self, now: datetime, *, asked_at: float) -> None:
        """Set the clock to a time that the server has just returned.

        Args:
            now: that time.
            asked_at: the reading of before the question.
        """
        self._base = now
        self._read_at = self._monotonic()
        # The server's clock was read at some moment between question and answer.
        least, most = now.timestamp() - self._read_at, now.timestamp() - asked_at
        before, self._ahead = self._ahead, (least, most)
        if before is None:
            return
        leap = max(least - before[1], 0.0) + min(most - before[0], 0.0)
        if abs(leap) > _LEAP_SECONDS:
            _log.warning("server_clock_leapt", seconds=round(leap, 1))
            for tell in self.leapt:
                tell()

    @property
    def age_seconds(self) -> float:
        """Return the seconds since the server returned its time."""
        return self._monotonic() - self._read_at

    def now(self) -> datetime:
        """Return the server's time; small steps back are suppressed.

        A step back by more than the inaccuracy of the estimate is the server's, and is followed.
        """
        estimate = self._base + timedelta(seconds=self.age_seconds)
        if estimate > self._last or self._last - estimate > _INACCURACY:
            self._last = estimate
        return self._last
