"""The clock of another server, estimated between its answers.

Leases, deadlines and the times in the log use the database's clock (L3, S2), which every commit
returns; how old a command is, workers tell by the broker's (L5). In between the monotonic clock of
the process continues from there, so its wall clock may be wrong.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_INACCURACY = timedelta(seconds=5)


class ServerClock:
    """Estimate a server's time; exact to about half a round trip."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._base = datetime.now(UTC)
        self._read_at = monotonic()
        self._last = self._base

    def set(self, now: datetime) -> None:
        """Set the clock to a time just returned by the server."""
        self._base = now
        self._read_at = self._monotonic()

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
