"""`/api/schedules*`."""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, ConfigDict, Field

from noetl_contract.http.moments import Rfc3339
from noetl_contract.http.scalars import IdText
from noetl_contract.model import Model, example

type Overlap = Literal["skip", "queue", "cancel", "allow"]
type FiringState = Literal["starting", "queued", "started", "skipped", "missed", "failed"]

_SCHEDULE: Any = {
    "schedule_id": "325077250000000002",
    "path": "reports/nightly",
    "catalog_id": "321000000000000010",
    "version": 1,
    "playbook": "reports/daily",
    "playbook_version": None,
    "cron": "30 2 * * *",
    "interval_seconds": None,
    "timezone": "Europe/Berlin",
    "overlap": "skip",
    "catch_up_seconds": 3600,
    "jitter_seconds": 0,
    "start": None,
    "end": None,
    "state": "active",
    "reason": None,
    "owner": "ci",
    "paused_at": None,
    "paused_by": None,
    "next_at": "2026-06-16T00:30:00Z",
}
_FIRING: Any = {
    "scheduled_at": "2026-06-15T00:30:00Z",
    "state": "started",
    "origin": "clock",
    "execution_id": "325077236512452608",
    "status": "COMPLETED",
    "due_at": "2026-06-15T00:30:00Z",
    "decided_at": "2026-06-15T00:30:00.013Z",
    "started_at": "2026-06-15T00:30:00.041Z",
    "reason": None,
    "count": 1,
}


class ScheduleBody(Model):
    """A schedule: its playbook, times and state; times are UTC."""

    model_config = example(**_SCHEDULE)

    schedule_id: IdText
    path: str
    catalog_id: IdText
    version: int
    playbook: str
    playbook_version: int | None = Field(description="null: the newest at each firing")
    cron: str | None
    interval_seconds: int | None
    timezone: str
    overlap: Overlap
    catch_up_seconds: int
    jitter_seconds: int
    start: Rfc3339 | None
    end: Rfc3339 | None
    state: Literal["active", "paused", "ended"]
    reason: str | None = Field(description="why it has ended")
    owner: str | None
    paused_at: Rfc3339 | None
    paused_by: str | None
    next_at: Rfc3339 | None = Field(description="the next time, without the jitter")


class ScheduleList(Model):
    """Schedules by path; `after` names the last one where there may be more."""

    model_config = example(schedules=[_SCHEDULE], after=None)

    schedules: list[ScheduleBody]
    after: str | None = None


class NextTime(Model):
    """One future time of a schedule."""

    scheduled_at: Rfc3339
    due_at: Rfc3339
    local: str = Field(description="the time in the schedule's time zone")


class NextTimes(Model):
    """Future times of a schedule, if nothing is changed."""

    model_config = example(
        schedule_id="325077250000000002",
        timezone="Europe/Berlin",
        times=[
            {
                "scheduled_at": "2026-06-16T00:30:00Z",
                "due_at": "2026-06-16T00:30:00Z",
                "local": "2026-06-16T02:30:00+02:00",
            }
        ],
    )

    schedule_id: IdText
    timezone: str
    times: list[NextTime]


class FiringBody(Model):
    """A firing: the decision about one time of a schedule, and its execution."""

    model_config = example(**_FIRING)

    scheduled_at: Rfc3339
    state: FiringState
    origin: Literal["clock", "backfill"]
    execution_id: IdText | None
    status: str | None = Field(description="of the execution, where it is known")
    due_at: Rfc3339
    decided_at: Rfc3339
    started_at: Rfc3339 | None
    reason: str | None = Field(description="why it was not started")
    count: int = Field(description="how many missed times in a row this one stands for")


class FiringList(Model):
    """Firings of a schedule, newest first."""

    model_config = example(schedule_id="325077250000000002", firings=[_FIRING])

    schedule_id: IdText
    firings: list[FiringBody]


class BackfillRequest(Model):
    """Start firings of past times that were not started; repeat the request until `is_over`."""

    model_config = ConfigDict(
        validate_by_name=True,
        json_schema_extra={
            "examples": [
                {"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z", "parallel": 4}
            ]
        },
    )

    begin: AwareDatetime = Field(alias="from", description="the first time that counts")
    to: AwareDatetime = Field(description="times at or after it don't count")
    parallel: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1, description="executions of the backfill that run at once"
    )


class BackfillAnswer(Model):
    """Progress of a backfill, in the part of the range up to `until`.

    `total` is the sum of `completed`, `failed`, `cancelled`, `unknown`, `running`, `refused`,
    `left` and `waiting`.
    """

    model_config = example(
        schedule_id="325077250000000002",
        until="2026-02-01T00:00:00Z",
        is_over=False,
        total=31,
        completed=7,
        failed=0,
        cancelled=0,
        unknown=0,
        running=4,
        waiting=20,
        left=0,
        refused=0,
        started=2,
        reason=None,
    )

    schedule_id: IdText
    until: Rfc3339 = Field(description="the part of the range that this is about ends here")
    is_over: bool = Field(description="whether nothing of this part is to be started or awaited")
    total: int = Field(description="times in this part")
    completed: int
    failed: int
    cancelled: int
    unknown: int = Field(description="started, and forgotten since by the end of the retention")
    running: int
    waiting: int = Field(description="not started yet")
    left: int = Field(description="queued by the clock, which starts them")
    refused: int = Field(description="starts that were refused just now")
    started: int = Field(description="started just now")
    reason: str | None = Field(description="why the first one was refused")
