"""Operations about schedules, which the catalog answers."""

from typing import Any

from pydantic import ConfigDict

from noetl_contract.access.principal import OnBehalf
from noetl_contract.http.catalog.schedules import (
    BackfillAnswer,
    BackfillRequest,
    FiringList,
    NextTimes,
    ScheduleBody,
    ScheduleList,
)
from noetl_contract.model import example
from noetl_contract.rpc.operation import Operation

_ID: Any = 325077250000000002


class SchedulePage(OnBehalf):
    """Which schedules to list: of one path, or those after a path."""

    model_config = example(path="reports/nightly", limit=100)

    path: str | None = None
    after: str | None = None
    limit: int = 100


class ScheduleName(OnBehalf):
    """The id of a schedule."""

    model_config = example(schedule_id=_ID)

    schedule_id: int


class NextRequest(ScheduleName):
    """How many times to come."""

    model_config = example(schedule_id=_ID, count=10)

    count: int = 10


class HistoryRequest(ScheduleName):
    """A page of what became of times: before a time, of one state."""

    model_config = example(schedule_id=_ID, limit=100)

    before: str | None = None
    state: str | None = None
    limit: int = 100


class Backfill(ScheduleName, BackfillRequest):
    """A step of a backfill."""

    model_config = ConfigDict(
        validate_by_name=True,
        json_schema_extra={
            "examples": [
                {
                    "schedule_id": _ID,
                    "from": "2026-01-01T00:00:00Z",
                    "to": "2026-02-01T00:00:00Z",
                    "parallel": 4,
                }
            ]
        },
    )


SCHEDULE_LIST = Operation("catalog", "schedule.list", SchedulePage, ScheduleList)
"""List schedules by path."""
SCHEDULE_GET = Operation("catalog", "schedule.get", ScheduleName, ScheduleBody)
"""Return a schedule."""
SCHEDULE_PAUSE = Operation("catalog", "schedule.pause", ScheduleName, ScheduleBody)
"""Stop firing a schedule; times that pass meanwhile are left out."""
SCHEDULE_RESUME = Operation("catalog", "schedule.resume", ScheduleName, ScheduleBody)
"""Fire a schedule again, from now on."""
SCHEDULE_NEXT = Operation("catalog", "schedule.next", NextRequest, NextTimes)
"""Return the next times of a schedule."""
SCHEDULE_HISTORY = Operation("catalog", "schedule.history", HistoryRequest, FiringList)
"""List what became of a schedule's times, newest first."""
SCHEDULE_BACKFILL = Operation("catalog", "schedule.backfill", Backfill, BackfillAnswer)
"""Do the next step of a backfill: start what may be started, and return how far it is."""
