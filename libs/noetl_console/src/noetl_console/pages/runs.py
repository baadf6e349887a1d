"""The list of executions, which is the home of the console."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from noetl_contract.http.executions.reads import CancelAnswer, CancelRequest, ExecutionEntry
from noetl_contract.http.executions.start import ExecuteAnswer, RerunRequest
from noetl_contract.http.system.dashboard import DashboardStatsAnswer

from noetl_console.api import Api, Refused, segment
from noetl_console.requests import BadField, Page, PageRequest, Redirect

PAGE_SIZE = 50
STATUSES = ("RUNNING", "COMPLETED", "FAILED", "CANCELLED")
SOFT = "SOFT"
"""Stands among the statuses for completed runs in which a step ended with an error."""
FILTERS = ("status", "path", "parent_execution_id", "since", "until")
_SPANS = (("last hour", 1), ("last day", 24), ("last week", 168))
"""Offered as beginnings, in hours."""
_MINUTE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of one of several executions: a text, its successor, or an error."""

    execution_id: str
    text: str = ""
    new: str = ""
    error: str = ""


async def runs(api: Api, request: PageRequest) -> Page:
    """Show a page of executions, newest first, by the filters in the address."""
    filters = {name: request.query.get(name, "").strip() for name in FILTERS}
    after = request.query.get("after", "")
    entries = await api.read(
        list[ExecutionEntry], "executions", limit=PAGE_SIZE, after=after, **asked_for(filters)
    )
    seen = seen_of(f"{one.execution_id}{one.status}{one.event_count}" for one in entries)
    stats = None
    if not request.is_partial:
        stats = await api.read_if_allowed(DashboardStatsAnswer, "dashboard/stats")
    return Page(
        "runs.html",
        {
            "entries": entries,
            "filters": filters,
            "after": after,
            "older": _older(entries),
            "statuses": STATUSES,
            "soft": SOFT,
            "spans": _spans(datetime.now(UTC)),
            "stats": stats.stats if stats else None,
            "seen": seen,
            "is_live": not after,
        },
        title="Runs",
        part="parts/runs.html",
        is_same=request.is_partial and request.query.get("seen") == seen,
    )


def asked_for(filters: Mapping[str, str]) -> dict[str, str | None]:
    """Return the query for the API; times without a zone, as forms send them, are UTC."""
    is_soft = filters["status"] == SOFT
    asked: dict[str, str | None] = {
        **filters,
        "status": None if is_soft else filters["status"],
        "soft_errors": "true" if is_soft else None,
    }
    for name in ("since", "until"):
        if _MINUTE.fullmatch(filters[name]):
            asked[name] = f"{filters[name]}:00Z"
    return asked


def _spans(now: datetime) -> list[tuple[str, str]]:
    return [
        (name, (now - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M")) for name, hours in _SPANS
    ]


def seen_of(parts: Iterable[str]) -> str:
    """Return a short digest by which a script notices that something has changed."""
    joined = "\n".join(parts)
    return hashlib.sha256(joined.encode()).hexdigest()[:12]


def _older(entries: Sequence[ExecutionEntry]) -> str | None:
    return str(entries[-1].execution_id) if len(entries) == PAGE_SIZE else None


async def act_on_runs(api: Api, request: PageRequest) -> Page | Redirect:
    """Cancel the executions that were selected, or start them once more; show the outcomes."""
    chosen = list(dict.fromkeys(request.form.get("id", ())))[:PAGE_SIZE]
    action = request.field("action")
    if action not in {"cancel", "rerun"}:
        raise BadField("action: cancel or rerun")
    if not chosen:
        raise BadField("Select at least one run first")
    outcomes = [await _act(api, action, one, once=request.once) for one in chosen]
    return Page("outcomes.html", {"outcomes": outcomes, "action": action}, title="Done")


async def _act(api: Api, action: str, execution_id: str, *, once: str | None) -> Outcome:
    path = f"executions/{segment(execution_id)}"
    key = None if once is None else f"{once}:{execution_id}"
    try:
        if action == "cancel":
            wish = CancelRequest(reason="from the console", cascade=True)
            answer = await api.send(CancelAnswer, f"{path}/cancel", wish)
            return Outcome(execution_id, text=answer.message)
        started = await api.send(ExecuteAnswer, f"{path}/rerun", RerunRequest(), once=key)
    except Refused as refused:
        if refused.status == 401:
            raise
        return Outcome(execution_id, error=refused.text)
    return Outcome(execution_id, text="started again as", new=started.execution_id)
