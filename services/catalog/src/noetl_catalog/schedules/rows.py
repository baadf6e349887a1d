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

    `starting` is a start without an answer yet, `queued` waits for the execution before.
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
    """A schedule in force.

    Attributes:
        spec: the document's `spec` as stored; `schedule` is it read.
        owner: the principal whose rights its executions have; None where callers aren't known.
        namespace: path prefix that their children stay in.
        next_at: the next time that nothing was decided about.
        look_at: when a replica has to look at it.
        is_in_force: whether its document is still the one of its path.
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
        """Its times."""
        return Times(self.schedule)

    def due_at(self, moment: datetime) -> datetime:
        """Return when the firing of a time is due: the jitter later."""
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
        """Whether its execution was started and is not known to have ended."""
        return self.state is State.STARTED and self.outcome is None


def firing_of(row: Row) -> Firing:
    """Return the firing of a row."""
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
    """Return the schedule that was stored; fields that it was stored without have defaults."""
    known = {name: value for name, value in spec.items() if name in Schedule.__slots__}
    for name in ("start", "end"):
        text = known.get(name)
        known[name] = datetime.fromisoformat(text) if isinstance(text, str) else None
    known["overlap"] = Overlap(str(known.get("overlap") or Overlap.SKIP))
    return Schedule(**known)
