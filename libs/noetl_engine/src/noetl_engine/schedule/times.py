"""The times that a schedule means, and the span and jitter of one of them.

Times are aware and in UTC. At a change of the clocks a cron expression with fixed minute and hour
means each day once: a time that doesn't exist becomes the first moment after the gap, and of a time
that exists twice the first one counts. Where minute or hour begin with ``*`` the expression means
every matching minute that the clock shows: twice in an hour that is repeated, never in one that is
left out. Intervals are elapsed time and know no time zone.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from noetl_engine.schedule.model import UTC_ZONE, Schedule

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)
_INSTANT: Final = timedelta(microseconds=1)
# Longer than any change of clocks: a walk from there meets every time that is repeated.
_RUN_UP: Final = timedelta(hours=4)
_LONGEST_ZONE: Final = 64
_MACROS: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


@dataclass(frozen=True, slots=True)
class Span:
    """Times of a range, of which there may be more than were asked for.

    Attributes:
        times: The first ones, in order.
        until: All times of the range before this moment are among them.
    """

    times: tuple[datetime, ...]
    until: datetime


def cron_problem(text: str) -> str | None:
    """Return the problem of a cron expression; None for a good one."""
    fields = _fields(text)
    if len(fields) != 5:
        return f"{len(fields)} fields instead of minute, hour, day, month and day of the week"
    try:
        first = next(CronSim(" ".join(fields), _EPOCH), None)
    except CronSimError as error:
        return str(error).lower()
    return "it names no moment of the next 50 years" if first is None else None


@lru_cache(maxsize=512)
def zone_of(name: str) -> tzinfo | None:
    """Return a time zone by its IANA name; None where there is none of it."""
    if name.upper() == UTC_ZONE:
        return UTC
    if len(name) > _LONGEST_ZONE:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


class Times:
    """The times of one schedule, within its start and end."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._zone = zone_of(schedule.timezone) or UTC
        self._cron = None if schedule.cron is None else " ".join(_fields(schedule.cron))

    def local(self, moment: datetime) -> datetime:
        """Return a moment in the schedule's time zone."""
        return moment.astimezone(self._zone)

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first time after a moment; None when there is none any more."""
        return next(self._after(moment), None)

    def previous_before(self, moment: datetime) -> datetime | None:
        """Return the last time before a moment; None when there was none."""
        start, end = self._schedule.start, self._schedule.end
        if end is not None and moment > end:
            moment = end
        found = self._last_before(moment)
        return None if found is None or (start is not None and found < start) else found

    def has(self, moment: datetime) -> bool:
        """Return whether a moment is one of the times."""
        return self.next_after(moment - _INSTANT) == moment

    def between(self, begin: datetime, end: datetime, *, limit: int) -> Span:
        """Return the times from ``begin`` on and before ``end``, at most so many."""
        found: list[datetime] = []
        for moment in self._after(begin - _INSTANT):
            if moment >= end:
                break
            if len(found) == limit:
                return Span(tuple(found), moment)
            found.append(moment)
        return Span(tuple(found), end)

    def first(self, after: datetime, *, count: int) -> list[datetime]:
        """Return the next times after a moment, at most so many."""
        return list(islice(self._after(after), count))

    def _after(self, moment: datetime) -> Iterator[datetime]:
        start, end = self._schedule.start, self._schedule.end
        if start is not None:
            moment = max(moment, start - _INSTANT)
        times = self._intervals(moment) if self._cron is None else self._matches(moment)
        for found in times:
            if end is not None and found >= end:
                return
            yield found

    def _intervals(self, moment: datetime) -> Iterator[datetime]:
        seconds = self._schedule.interval_seconds or 1
        anchor = self._schedule.start or _EPOCH
        step = timedelta(seconds=seconds)
        found = anchor + ((moment - anchor) // step + 1) * step
        while True:
            yield found
            found += step

    def _matches(self, moment: datetime) -> Iterator[datetime]:
        """Yield moments of the cron expression, each later than the one before."""
        last = moment.astimezone(UTC)
        # Times start anew at the moment's own minute, which may be one of them.
        for match in CronSim(self._cron or "", (last - _SECOND).astimezone(self._zone)):
            found = match.astimezone(UTC)
            if found > last:
                last = found
                yield found

    def _last_before(self, moment: datetime) -> datetime | None:
        if self._cron is None:
            seconds = timedelta(seconds=self._schedule.interval_seconds or 1)
            anchor = self._schedule.start or _EPOCH
            return anchor + (-((anchor - moment) // seconds) - 1) * seconds
        back = next(CronSim(self._cron, self.local(moment), reverse=True), None)
        if back is None:
            return None
        before = back.astimezone(UTC)
        if before < moment:
            # Both are times, and none is between them: nothing but a change of clocks is different.
            ahead = islice(self._matches(before - _INSTANT), 2)
            if [*ahead] == [before, next(self._matches(moment - _INSTANT), None)]:
                return before
        found = None
        for match in self._matches(min(before, moment) - _RUN_UP):
            if match >= moment:
                return found
            found = match
        return found


def jitter_of(schedule_id: int, moment: datetime, *, seconds: int) -> timedelta:
    """Return the delay of one firing, the same at every call."""
    if seconds <= 0:
        return timedelta(0)
    digest = hashlib.blake2b(f"{schedule_id}:{moment.isoformat()}".encode(), digest_size=8).digest()
    return timedelta(milliseconds=int.from_bytes(digest) % (seconds * 1000 + 1))


def _fields(text: str) -> list[str]:
    return _MACROS.get(text.strip().lower(), text).split()
