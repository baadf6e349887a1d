"""The database's clock, estimated between its answers.

Leases, deadlines and the times in the log use the database's clock (L3, S2). Every commit returns
it; in between the monotonic clock of the process continues from there.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_INACCURACY = timedelta(seconds=5)


class DatabaseClock:
    """Estimate the database's time; exact to about half a round trip."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._base = datetime.now(UTC)
        self._read_at = monotonic()
        self._last = self._base

    def set(self, now: datetime) -> None:
        """Set the clock to a time just returned by the database."""
        self._base = now
        self._read_at = self._monotonic()

    @property
    def age_seconds(self) -> float:
        """Return the seconds since the database returned its time."""
        return self._monotonic() - self._read_at

    def now(self) -> datetime:
        """Return the database's time; small steps back are suppressed.

        A step back by more than the inaccuracy of the estimate is the database's, and is followed.
        """
        estimate = self._base + timedelta(seconds=self.age_seconds)
        if estimate > self._last or self._last - estimate > _INACCURACY:
            self._last = estimate
        return self._last
