"""`/api/schedules*`: schedules in force; their documents come by the catalog's routes."""

from noetl_contract.access.rights import Right
from noetl_contract.http.catalog.schedules import BackfillRequest
from noetl_contract.rpc.schedules import (
    SCHEDULE_BACKFILL,
    SCHEDULE_GET,
    SCHEDULE_HISTORY,
    SCHEDULE_LIST,
    SCHEDULE_NEXT,
    SCHEDULE_PAUSE,
    SCHEDULE_RESUME,
    Backfill,
    HistoryRequest,
    NextRequest,
    ScheduleName,
    SchedulePage,
)
from pydantic import BaseModel

from noetl_api_gateway.routes.forwarding import Sent, Topic

TOPIC = Topic("schedules")
_NONE = {404: "Schedule not found: 5"}
_ENDED = {**_NONE, 409: "The schedule reports/nightly has ended: its document was deleted"}


def _name(sent: Sent[BaseModel]) -> ScheduleName:
    return ScheduleName(schedule_id=sent.id("schedule_id"))


TOPIC.forward(
    "GET /api/schedules",
    SCHEDULE_LIST,
    lambda sent: SchedulePage(
        path=sent.text("path"), after=sent.text("after"), limit=sent.number("limit", 100)
    ),
    name="list_schedules",
    needs=Right.SCHEDULES_READ,
    query={
        "path": (str, "the schedule of this path only"),
        "after": (str, "schedules whose path comes after this one"),
        "limit": (int, "at most so many, up to 1000"),
    },
    summary="List schedules",
    description="List the schedules in reach by path.",
)
TOPIC.forward(
    "GET /api/schedules/{schedule_id:str}",
    SCHEDULE_GET,
    _name,
    name="get_schedule",
    needs=Right.SCHEDULES_READ,
    summary="Read a schedule",
    errors=_NONE,
)
TOPIC.forward(
    "GET /api/schedules/{schedule_id:str}/next",
    SCHEDULE_NEXT,
    lambda sent: NextRequest(schedule_id=sent.id("schedule_id"), count=sent.number("count", 10)),
    name="next_times",
    needs=Right.SCHEDULES_READ,
    query={"count": (int, "how many, up to 100")},
    summary="List the next times of a schedule",
    errors=_NONE,
)
TOPIC.forward(
    "GET /api/schedules/{schedule_id:str}/history",
    SCHEDULE_HISTORY,
    lambda sent: HistoryRequest(
        schedule_id=sent.id("schedule_id"),
        before=sent.text("before"),
        state=sent.text("state"),
        limit=sent.number("limit", 100),
    ),
    name="schedule_history",
    needs=Right.SCHEDULES_READ,
    query={
        "before": (str, "times before this one (RFC 3339)"),
        "state": (str, "of this state only"),
        "limit": (int, "at most so many, up to 1000"),
    },
    summary="List what became of a schedule's times",
    errors={**_NONE, 422: "before is no moment (RFC 3339)"},
)
TOPIC.forward(
    "POST /api/schedules/{schedule_id:str}/pause",
    SCHEDULE_PAUSE,
    _name,
    name="pause_schedule",
    needs=Right.SCHEDULES_CHANGE,
    summary="Pause a schedule",
    errors=_ENDED,
)
TOPIC.forward(
    "POST /api/schedules/{schedule_id:str}/resume",
    SCHEDULE_RESUME,
    _name,
    name="resume_schedule",
    needs=Right.SCHEDULES_CHANGE,
    summary="Resume a schedule",
    errors=_ENDED,
)
TOPIC.forward(
    "POST /api/schedules/{schedule_id:str}/backfill",
    SCHEDULE_BACKFILL,
    lambda sent: Backfill(
        schedule_id=sent.id("schedule_id"),
        begin=sent.body.begin,
        to=sent.body.to,
        parallel=sent.body.parallel,
    ),
    body=BackfillRequest,
    name="backfill_schedule",
    needs=Right.SCHEDULES_CHANGE,
    summary="Do the next step of a backfill",
    errors={**_ENDED, 422: "`to` is not after `from`"},
)
