"""Waits of steps, rendered: the engine begins them in place of commands."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from noetl_contract.events import format_time
from noetl_contract.json import Json, JsonObject
from noetl_contract.waits.form import field_names

from noetl_engine.commands.rendering import render
from noetl_engine.errors import EvaluateError
from noetl_engine.playbook.model import Step, Tool
from noetl_engine.playbook.waits import SLEEP, BadWait, WaitConfig, read_wait
from noetl_engine.state.waiting import Wait


def build_wait(step: Step, tool: Tool, scope: Mapping[str, Json]) -> WaitConfig:
    """Render the configuration of a step's wait.

    Raises:
        EvaluateError: A template fails, or gives something that can't be waited by.
    """
    try:
        return read_wait(tool.kind, render(dict(tool.config), scope))
    except BadWait as error:
        raise EvaluateError(f"step '{step.name}' can't wait: {error}") from error


def wait_of(plan: WaitConfig, now: datetime, *, step_seconds: float | None) -> Wait:
    """Return the wait that begins now; the time limit of the step may end it before its own."""
    due_at = plan.until or now + timedelta(seconds=plan.seconds)
    ending = "slept" if plan.kind == SLEEP else plan.on_timeout
    if step_seconds is not None and now + timedelta(seconds=step_seconds) < due_at:
        due_at, ending = now + timedelta(seconds=step_seconds), "step"
    return Wait(plan.kind, plan.signal, max(due_at, now), ending, plan.remind_every)


def shown_wait(plan: WaitConfig, wait: Wait, *, command_id: str, wait_id: int) -> JsonObject:
    """Return the part of a wait that readers see."""
    shown: JsonObject = {
        "command_id": command_id,
        "wait_id": str(wait_id),
        "kind": plan.kind,
        "due_at": format_time(wait.due_at),
    }
    if plan.kind == SLEEP:
        return shown
    asks: JsonObject = {"signal": plan.signal, "title": plan.title}
    asks |= {"description": plan.description, "form": plan.form, "on_timeout": plan.on_timeout}
    names = field_names(plan.form)
    if names != sorted(names, key=_as_stored):
        asks["fields"] = names
    return {**shown, **asks}


def _as_stored(name: str) -> tuple[int, bytes]:
    """Return the sort key by which a database orders the keys of an object: short ones first."""
    key = name.encode()
    return len(key), key
