"""Clocks: the wall clock as a function that tests replace, and the clock of another server."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from noetl_common.logging import get_logger

type Clock = Callable[[], int]
"""Returns Unix milliseconds of the wall clock."""

_log = get_logger()
_INACCURACY = timedelta(seconds=5)
_LEAP_SECONDS = 2.0


def unix_ms() -> int:
    """Return the wall clock in Unix milliseconds."""
    return time.time_ns() // 1_000_000


class ServerClock:
    """Estimates the clock of another server, with an error of about half a round trip.

    Leases, deadlines and the times in the log use the database's clock (L3, S2), which every commit
    returns. Workers compute the age of a command from the broker's clock (L5). Between two answers
    the estimate advances with the monotonic clock of the process, so a wrong wall clock doesn't
    matter. If the server's clock leaps, the next answer shows it.

    Attributes:
        on_leap: functions that are called after the server's clock leapt, forward or back,
            compared to the clock of this process.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.on_leap: list[Callable[[], None]] = []
        self._monotonic = monotonic
        self._ahead: tuple[float, float] | None = None
        self._base = datetime.now(UTC)
        self._read_at = monotonic()
        self._last = self._base

    def reading(self) -> float:
        """Return the process's monotonic clock, for the argument ``asked_at``."""
        return self._monotonic()

    def set(self, now: datetime, *, asked_at: float) -> None:
        """Set the clock to a time that the server has just returned.

        Args:
            now: the time of the server.
            asked_at: the `reading` before the request was sent.
        """
        self._base = now
        self._read_at = self._monotonic()
        # The server read its clock at some moment between the request and its answer.
        least, most = now.timestamp() - self._read_at, now.timestamp() - asked_at
        before, self._ahead = self._ahead, (least, most)
        if before is None:
            return
        leap = max(least - before[1], 0.0) + min(most - before[0], 0.0)
        if abs(leap) > _LEAP_SECONDS:
            _log.warning("server_clock_leapt", seconds=round(leap, 1))
            for on_leap in self.on_leap:
                on_leap()

    @property
    def age_seconds(self) -> float:
        """Return the seconds since the server returned its time."""
        return self._monotonic() - self._read_at

    def now(self) -> datetime:
        """Return the server's time, which doesn't go back by small corrections.

        If it goes back by more than the inaccuracy of the estimate, the server's own clock was set
        back, and the estimate is set back too.
        """
        estimate = self._base + timedelta(seconds=self.age_seconds)
        if estimate > self._last or self._last - estimate > _INACCURACY:
            self._last = estimate
        return self._last
