"""One playbook: its picture and text, its versions, the form that starts it, its executions."""

import asyncio
from collections.abc import Mapping, Sequence

from noetl_contract.http.catalog.entries import (
    CatalogEntry,
    CatalogListAnswer,
    CatalogListRequest,
    ContentRequest,
    DocumentProblem,
    ResourceRequest,
    UiSchema,
    ValidateAnswer,
)
from noetl_contract.http.catalog.schedules import ScheduleList
from noetl_contract.http.executions.reads import ExecutionEntry
from noetl_contract.http.executions.start import ExecuteAnswer, ExecuteRequest

from noetl_console.api import Api, path_segments
from noetl_console.drawing.differences import differences
from noetl_console.drawing.forms import FormField, json_object, typed_values, workload_fields
from noetl_console.drawing.graph import draw_graph
from noetl_console.requests import Page, PageRequest, Redirect

_RUNS = 20
_SEARCHED = 100
"""Executions to find them in: the API's filter also finds paths that contain this one."""


async def playbook(api: Api, request: PageRequest) -> Page:
    """Show a version of a path; the newest one if none is named."""
    path, version = request.names["path"], request.query.get("version") or "latest"
    entry = await api.send(
        CatalogEntry, "catalog/resource", ResourceRequest(path=path, version=version)
    )
    text = ContentRequest(content=entry.content or "")
    listed, runs, schedules, problems = await asyncio.gather(
        api.send_if_allowed(
            CatalogListAnswer, "catalog/list", CatalogListRequest(path=path, brief=True)
        ),
        api.read_if_allowed(list[ExecutionEntry], "executions", path=path, limit=_SEARCHED),
        api.read_if_allowed(ScheduleList, "schedules", limit=1000),
        api.send_if_allowed(ValidateAnswer, "catalog/playbooks/validate", text),
    )
    versions = [one for one in (listed.entries if listed else []) if one.path == path]
    fields = await _fields(api, entry)
    against = await _version(api, path, request.query.get("against"))
    return Page(
        "playbook.html",
        {
            "entry": entry,
            "versions": sorted(versions, key=lambda one: -one.version),
            "graph_drawn": draw_graph(entry.layout, {}),
            "problems": problems.problems if problems else [],
            "problems_at": _by_line(problems),
            "lines": (entry.content or "").splitlines(),
            "fields": fields,
            "runs": [one for one in runs or [] if one.path == path][:_RUNS],
            "schedules": [
                one for one in (schedules.schedules if schedules else []) if one.playbook == path
            ],
            "against": against,
            "differences": differences(against.content or "", entry.content or "")
            if against
            else [],
            "states": {},
        },
        title=path,
    )


def _by_line(found: ValidateAnswer | None) -> Mapping[int, Sequence[DocumentProblem]]:
    at: dict[int, list[DocumentProblem]] = {}
    for one in found.problems if found else []:
        at.setdefault(one.line, []).append(one)
    return at


async def _version(api: Api, path: str, wanted: str | None) -> CatalogEntry | None:
    if not wanted:
        return None
    return await api.send_if_allowed(
        CatalogEntry, "catalog/resource", ResourceRequest(path=path, version=wanted)
    )


async def _fields(api: Api, entry: CatalogEntry) -> list[FormField]:
    if entry.kind.lower() not in {"playbook", "agent"}:
        return []
    schema = await api.read_if_allowed(
        UiSchema, f"catalog/{path_segments(entry.path)}/ui_schema", version=entry.version
    )
    return workload_fields(schema.fields) if schema else []


async def start(api: Api, request: PageRequest) -> Redirect:
    """Start a playbook with the input of its form, and with the JSON below it."""
    path, version = request.names["path"], request.field("version") or "latest"
    entry = await api.send(
        CatalogEntry, "catalog/resource", ResourceRequest(path=path, version=version)
    )
    workload = typed_values(await _fields(api, entry), request)
    workload |= json_object(request.field("more"), label="More input")
    wish = ExecuteRequest(catalog_id=entry.catalog_id, workload=workload)
    started = await api.send(ExecuteAnswer, "execute", wish, once=request.once)
    return Redirect(f"/console/runs/{started.execution_id}")
