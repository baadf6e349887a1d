"""The database's clock, without asking the database each time.

Leases, deadlines and the times in the log are the database's (design L3, S2). Every commit tells
its time; in between the process's monotonic clock goes on from there.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_INACCURACY = timedelta(seconds=5)


class DatabaseClock:
    """Estimates the database's time; exact to about half a round trip."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._base = datetime.now(UTC)
        self._read_at = monotonic()
        self._last = self._base

    def set(self, now: datetime) -> None:
        """Take over a time that the database has just told."""
        self._base = now
        self._read_at = self._monotonic()

    @property
    def age_seconds(self) -> float:
        """How long ago the database told its time."""
        return self._monotonic() - self._read_at

    def now(self) -> datetime:
        """Return the database's time, never a little earlier than at the call before.

        A step back by more than our own inaccuracy is the database's, and is followed.
        """
        estimate = self._base + timedelta(seconds=self.age_seconds)
        if estimate > self._last or self._last - estimate > _INACCURACY:
            self._last = estimate
        return self._last
