"""Rows of schedules and of their firings."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property

from noetl_contract.http.moments import rfc3339
from noetl_contract.json import Json, JsonObject
from noetl_engine.schedule.model import Overlap, Schedule
from noetl_engine.schedule.times import Times, jitter_of
from noetl_pg.database import Row


class State(StrEnum):
    """State of a firing: the decision about one time of a schedule.

    `starting` is a start without an answer; `queued` waits for the end of the previous execution.
    """

    STARTING = "starting"
    QUEUED = "queued"
    STARTED = "started"
    SKIPPED = "skipped"
    MISSED = "missed"
    FAILED = "failed"


class Origin(StrEnum):
    """Cause of a decision: the clock, or a backfill."""

    CLOCK = "clock"
    BACKFILL = "backfill"


@dataclass(frozen=True, kw_only=True)
class ScheduleRow:
    """A stored schedule.

    Attributes:
        spec: stored `spec` of the document; `schedule` decodes it.
        owner: principal whose rights the executions have; None without authentication.
        namespace: path prefix to which child executions are restricted.
        next_at: the next undecided time.
        look_at: time at which the schedule needs its next decision.
        is_in_force: whether the document of the path is still this schedule.
    """

    schedule_id: int
    path: str
    catalog_id: int
    version: int
    spec: JsonObject
    owner: str | None
    namespace: str | None
    registered_at: datetime
    paused_at: datetime | None
    paused_by: str | None
    ended: str | None
    next_at: datetime | None
    look_at: datetime | None
    is_in_force: bool = True

    @cached_property
    def schedule(self) -> Schedule:
        """The schedule as its document defines it."""
        return schedule_of(self.spec)

    @cached_property
    def times(self) -> Times:
        """The times of the schedule."""
        return Times(self.schedule)

    def due_at(self, moment: datetime) -> datetime:
        """Return the time at which a firing is due: its scheduled time plus the jitter."""
        seconds = self.schedule.jitter_seconds
        return moment + jitter_of(self.schedule_id, moment, seconds=seconds)

    def key_of(self, moment: datetime) -> str:
        """Return the request key of a time's start (W5)."""
        return f"schedule:{self.schedule_id}:{rfc3339(moment)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """The decision about one time of a schedule."""

    schedule_id: int
    scheduled_at: datetime
    state: State
    execution_id: int | None = None
    origin: Origin = Origin.CLOCK
    due_at: datetime
    decided_at: datetime
    started_at: datetime | None = None
    reason: str | None = None
    count: int = 1
    is_awaited: bool = False
    outcome: str | None = None

    @property
    def is_running(self) -> bool:
        """Whether the execution was started and its outcome is unknown."""
        return self.state is State.STARTED and self.outcome is None


def firing_of(row: Row) -> Firing:
    """Convert a row to a firing."""
    values = dict(row)
    values["state"], values["origin"] = State(str(row["state"])), Origin(str(row["origin"]))
    return Firing(**values)


def stored(schedule: Schedule) -> JsonObject:
    """Return a schedule as JSON."""
    values: JsonObject = asdict(schedule)
    for name in ("start", "end"):
        moment = values[name]
        values[name] = moment.isoformat() if isinstance(moment, datetime) else None
    return values


def schedule_of(spec: Mapping[str, Json]) -> Schedule:
    """Decode a stored schedule; missing fields have defaults."""
    known = {name: value for name, value in spec.items() if name in Schedule.__slots__}
    for name in ("start", "end"):
        text = known.get(name)
        known[name] = datetime.fromisoformat(text) if isinstance(text, str) else None
    known["overlap"] = Overlap(str(known.get("overlap") or Overlap.SKIP))
    return Schedule(**known)
