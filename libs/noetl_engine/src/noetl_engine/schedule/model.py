"""A schedule as a frozen record; the reader is the only place that makes one from text."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from noetl_engine.playbook.model import Value

UTC_ZONE = "UTC"
DEFAULT_CATCH_UP_SECONDS = 3600
SHORTEST_CATCH_UP_SECONDS = 60
"""A firing that is late by less is started in spite of its window: processes restart."""


class Overlap(StrEnum):
    """Rule for a firing that is due while the execution of the one before runs."""

    SKIP = "skip"
    QUEUE = "queue"
    CANCEL = "cancel"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Content of a schedule's document.

    Attributes:
        playbook: Catalog path of what is started.
        version: Its version; None for the newest at each firing.
        cron: Five fields of a cron expression; None where there is an interval.
        interval_seconds: Seconds from one firing to the next; None where there is a cron
            expression.
        timezone: IANA name of the zone that the cron expression is read in.
        overlap: Rule for a firing while the execution before runs.
        catch_up_seconds: How late a firing is still started; later ones are missed.
        jitter_seconds: Longest delay of a firing behind its time.
        payload: Laid over the playbook's workload; texts may be templates.
        start: No firing before.
        end: No firing at or after.
        is_paused: Whether it is registered paused or running; None leaves it as it is.
    """

    playbook: str
    version: int | None = None
    cron: str | None = None
    interval_seconds: int | None = None
    timezone: str = UTC_ZONE
    overlap: Overlap = Overlap.SKIP
    catch_up_seconds: int = DEFAULT_CATCH_UP_SECONDS
    jitter_seconds: int = 0
    payload: Mapping[str, Value] = field(default_factory=dict)
    start: datetime | None = None
    end: datetime | None = None
    is_paused: bool | None = None

    @property
    def window_seconds(self) -> int:
        """Number of seconds after its due time in which a firing is still started."""
        return max(self.catch_up_seconds, SHORTEST_CATCH_UP_SECONDS)

    def has_times_of(self, other: "Schedule") -> bool:
        """Return whether both mean the same times."""
        return replace(other, **{name: getattr(self, name) for name in _NOT_TIMES}) == self


_NOT_TIMES = ("playbook", "version", "overlap", "catch_up_seconds", "payload", "is_paused")
