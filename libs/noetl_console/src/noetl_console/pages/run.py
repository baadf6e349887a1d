"""One execution: its failure or its waits, its picture, its time, and each step."""

import asyncio
from datetime import UTC, datetime

from noetl_contract.http.catalog.entries import CatalogEntry, ResourceRequest
from noetl_contract.http.executions.reads import (
    EventsAnswer,
    ExecutionDetail,
    ExecutionEntry,
)
from noetl_contract.http.executions.steps import StepList
from noetl_contract.http.executions.waits import WaitList
from noetl_contract.http.executions.why import WhyAnswer

from noetl_console.api import Api, segment
from noetl_console.drawing.graph import draw_graph
from noetl_console.drawing.printed import MOST_LINES, printed_lines
from noetl_console.drawing.timeline import SCALE, draw_timeline
from noetl_console.drawing.values import LONGEST_VALUE, MOST_TOGETHER
from noetl_console.pages.runs import seen_of
from noetl_console.requests import Page, PageRequest

TABS = ("overview", "events", "output", "result", "children", "playbook")
_RUNNING = frozenset({"RUNNING", "PENDING", "PAUSED"})
MOST_STEPS = 1000
_EVENTS = 100
_CALLS = 50


async def run(api: Api, request: PageRequest) -> Page:
    """Show one tab of an execution."""
    wanted = request.query.get("tab", "overview")
    tab = wanted if wanted in TABS else "overview"
    path = path_of(request)
    detail = await api.read(ExecutionDetail, path, page=1, include_events="false")
    is_running = detail.status in _RUNNING
    shown: dict[str, object] = {
        "detail": detail,
        "tab": tab,
        "tabs": TABS,
        "is_running": is_running,
        "only": request.query.get("only", ""),
        "seen": seen_of((detail.status, str(detail.pagination.total_events), str(detail.paused))),
    }
    if tab == "overview":
        if request.is_partial and request.query.get("seen") == shown["seen"]:
            return Page("run.html", {}, title="", part="parts/run.html", is_same=True)
        shown.update(await _overview(api, detail, path))
    elif tab == "events":
        shown.update(await _events(api, request, path))
    elif tab == "output":
        shown.update(await _output(api, path))
    elif tab == "children":
        shown["children"] = await api.read(
            list[ExecutionEntry],
            "executions",
            parent_execution_id=str(detail.execution_id),
            limit=100,
        )
    elif tab == "playbook":
        shown["entry"] = await _entry(api, detail)
    title = f"{detail.path or 'run'} · {detail.status}"
    # The buttons outside of the changing part are those of a run that goes on.
    is_over = request.is_partial and not is_running
    return Page(
        "run.html",
        shown,
        title=title,
        part="parts/run.html",
        is_stale=is_over,
        longest_value=MOST_TOGETHER if shown["only"] else LONGEST_VALUE,
    )


async def _events(api: Api, request: PageRequest, path: str) -> dict[str, object]:
    types, step = request.query.get("event_type", ""), request.query.get("step", "")
    found = await api.read(
        EventsAnswer,
        f"{path}/events",
        page=request.query.get("page", "1"),
        page_size=_EVENTS,
        event_type=types,
        step=step,
    )
    return {"events": found, "event_type": types, "step": step}


async def _output(api: Api, path: str) -> dict[str, object]:
    """Return the output of the newest calls; a failed call has it in another event."""
    answers = await asyncio.gather(
        *(
            api.read(EventsAnswer, f"{path}/events", page_size=_CALLS, event_type=kind)
            for kind in ("call.done", "call.error")
        )
    )
    lines = printed_lines(event for answer in answers for event in answer.events)
    is_cut = len(lines) == MOST_LINES or any(one.pagination.has_next for one in answers)
    return {"printed": lines, "is_cut": is_cut}


async def _overview(api: Api, detail: ExecutionDetail, path: str) -> dict[str, object]:
    is_running = detail.status in _RUNNING
    steps, entry, why, waits = await asyncio.gather(
        api.read(StepList, f"{path}/steps", limit=MOST_STEPS),
        _entry(api, detail),
        api.read_if_allowed(WhyAnswer, f"{path}/why") if is_running else _nothing(),
        api.read_if_allowed(WaitList, "waits", execution_id=str(detail.execution_id))
        if is_running
        else _nothing(),
    )
    states = {one.step: str(one.state) for one in steps.steps}
    if detail.soft_error is not None and states.get(detail.soft_error.step or "") == "COMPLETED":
        states[detail.soft_error.step or ""] = "SOFT"
    now = datetime.now(UTC)
    return {
        "steps": steps.steps,
        "has_more_steps": steps.next is not None,
        "states": states,
        "bars": draw_timeline(
            steps.steps, begin=detail.started_at, end=detail.completed_at, now=now
        ),
        "scale": SCALE,
        "graph_drawn": draw_graph(entry.layout, states) if entry is not None else None,
        "why": why,
        "waits": waits.waits if waits is not None else [],
    }


async def _nothing() -> None:
    return None


async def _entry(api: Api, detail: ExecutionDetail) -> CatalogEntry | None:
    """Return the version of the playbook that this execution runs."""
    return await api.send_if_allowed(
        CatalogEntry, "catalog/resource", ResourceRequest(catalog_id=str(detail.catalog_id))
    )


def path_of(request: PageRequest) -> str:
    """Return the path of the execution that a page is about, below `/noetl/`."""
    return f"executions/{segment(request.names['id'])}"
