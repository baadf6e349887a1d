"""Schedules, which are registered as documents of the catalog."""

from datetime import datetime

from noetl_contract.http.catalog.schedules import (
    BackfillAnswer,
    BackfillRequest,
    FiringList,
    FiringState,
    NextTimes,
    ScheduleBody,
    ScheduleList,
)

from noetl_client.calls.call import Again, Call, Id, get, segment, send


def listing(
    *, path: str | None = None, after: str | None = None, limit: int | None = None
) -> Call[ScheduleList]:
    """List schedules by path; ``after`` is the last path of the previous page."""
    return get("/api/schedules", ScheduleList, path=path, after=after, limit=limit)


def entry(schedule_id: Id) -> Call[ScheduleBody]:
    """Read one schedule."""
    return get(_path(schedule_id), ScheduleBody)


def pause(schedule_id: Id) -> Call[ScheduleBody]:
    """Stop firing a schedule."""
    return send(_path(schedule_id, "pause"), ScheduleBody, again=Again.SAFE)


def resume(schedule_id: Id) -> Call[ScheduleBody]:
    """Fire a schedule again, from now on."""
    return send(_path(schedule_id, "resume"), ScheduleBody, again=Again.SAFE)


def next_times(schedule_id: Id, *, count: int | None = None) -> Call[NextTimes]:
    """List the next times of a schedule."""
    return get(_path(schedule_id, "next"), NextTimes, count=count)


def history(
    schedule_id: Id,
    *,
    state: FiringState | str | None = None,
    before: str | None = None,
    limit: int | None = None,
) -> Call[FiringList]:
    """List the firings of a schedule, newest first."""
    return get(_path(schedule_id, "history"), FiringList, state=state, before=before, limit=limit)


def backfill(
    schedule_id: Id, begin: datetime, to: datetime, *, parallel: int = 1
) -> Call[BackfillAnswer]:
    """Start the next part of a backfill; repeat the call until its answer says it is over."""
    body = BackfillRequest(begin=begin, to=to, parallel=parallel)
    # A retry is safe: the idempotency key of each time prevents a second start.
    return send(_path(schedule_id, "backfill"), BackfillAnswer, body, again=Again.SAFE)


def _path(schedule_id: Id, what: str = "") -> str:
    return f"/api/schedules/{segment(schedule_id)}" + (f"/{what}" if what else "")
