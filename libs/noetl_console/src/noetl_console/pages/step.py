"""The calls of one step of an execution: input, output, and worker of each."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from noetl_contract.http.executions.reads import DetailEvent, ExecutionDetail
from noetl_contract.http.executions.steps import StepEntry, StepList

from noetl_console.api import Api
from noetl_console.drawing.printed import printed_texts
from noetl_console.drawing.values import LONGEST_VALUE, MOST_TOGETHER
from noetl_console.pages.run import MOST_STEPS, path_of
from noetl_console.requests import Page, PageRequest

_EVENTS = 200
_MOST_CALLS = 30


@dataclass(slots=True)
class StepCall:
    """One command of a step, read from its events.

    Attributes:
        command_id: of the command.
        iteration: of a loop, from 0; None outside of one.
        events: in the order of the log.
    """

    command_id: str
    iteration: int | None = None
    input: Any = None
    context: Any = None
    output: Any = None
    error: str | None = None
    stdout: str = ""
    stderr: str = ""
    worker_id: str | None = None
    status: str = "PENDING"
    attempts: int = 0
    issued_at: str | None = None
    ended_at: str | None = None
    events: list[DetailEvent] = field(default_factory=list)


async def step(api: Api, request: PageRequest) -> Page:
    """Show the newest calls of a step: input, output, and worker of each."""
    path, name = path_of(request), request.names["step"]
    detail, steps = await asyncio.gather(
        api.read(ExecutionDetail, path, page=1, page_size=_EVENTS, step=name, include="context"),
        api.read_if_allowed(StepList, f"{path}/steps", limit=MOST_STEPS),
    )
    entry: StepEntry | None = next(
        (one for one in (steps.steps if steps else []) if one.step == name), None
    )
    calls, only = calls_of(detail.events), request.query.get("call", "")
    if only:
        calls = [one for one in calls if one.command_id == only]
    return Page(
        "step.html",
        {
            "detail": detail,
            "step": name,
            "entry": entry,
            "calls": calls[:_MOST_CALLS],
            "only": only,
            "is_cut": len(calls) > _MOST_CALLS or detail.pagination.has_next,
        },
        title=f"{name} · {detail.path}",
        longest_value=MOST_TOGETHER if only else LONGEST_VALUE,
    )


def calls_of(events: Sequence[DetailEvent]) -> list[StepCall]:
    """Return the commands that events are about, newest first.

    Args:
        events: of one step, newest first.
    """
    calls: dict[str, StepCall] = {}
    for event in reversed(events):
        command_id = _command_of(event)
        if command_id is None:
            continue
        call = calls.setdefault(command_id, StepCall(command_id))
        call.events.append(event)
        _note(call, event)
    return list(reversed(calls.values()))


def _command_of(event: DetailEvent) -> str | None:
    if event.event_type == "command.issued":
        return f"{event.execution_id}:{event.node_name}:{event.event_id}"
    found = _inner(event.result).get("command_id")
    # An iteration's command has its number behind the command's own name.
    return ":".join(found.split(":")[:3]) if isinstance(found, str) else None


def _note(call: StepCall, event: DetailEvent) -> None:
    inner = _inner(event.result)
    match event.event_type:
        case "command.issued":
            context = event.context if isinstance(event.context, dict) else {}
            call.input, call.context = context.get("tool_config"), context.get("args")
            call.issued_at = event.created_at
        case "command.claimed":
            call.worker_id, call.status = inner.get("worker_id"), "RUNNING"
            # Nobody has what its worker could not begin.
            call.attempts += bool(call.worker_id)
        case "call.done" | "call.error":
            _note_output(call, event, inner)
        case "command.completed" | "command.failed" | "command.cancelled":
            call.ended_at = event.created_at
            is_good = event.event_type == "command.completed" and event.status != "error"
            call.status = "COMPLETED" if is_good else "FAILED"
            if call.error is None and inner.get("error"):
                call.error = str(inner["error"])
        case _:
            pass


def _note_output(call: StepCall, event: DetailEvent, inner: Mapping[str, Any]) -> None:
    result = inner.get("result")
    body = _inner(result)
    call.output = body.get("data", result)
    printed = dict(printed_texts(event))
    call.stdout, call.stderr = printed.get("stdout", ""), printed.get("stderr", "")
    error = body.get("error") or inner.get("error")
    call.error = str(error) if error else None


def _inner(result: Any) -> Mapping[str, Any]:
    context = result.get("context") if isinstance(result, dict) else None
    return context if isinstance(context, dict) else {}
