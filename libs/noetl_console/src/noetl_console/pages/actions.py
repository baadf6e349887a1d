"""Actions of people on one execution."""

from typing import Any

from noetl_contract.http.executions.reads import CancelAnswer, CancelRequest
from noetl_contract.http.executions.start import (
    ExecuteAnswer,
    RerunRequest,
    RestartAnswer,
    RestartRequest,
)

from noetl_console.api import Api, segment
from noetl_console.drawing.forms import json_object
from noetl_console.pages.run import path_of
from noetl_console.requests import PageRequest, Redirect


async def cancel(api: Api, request: PageRequest) -> Redirect:
    """Cancel an execution with all that it started."""
    wish = CancelRequest(reason=request.field("reason") or "from the console", cascade=True)
    await api.send(CancelAnswer, f"{path_of(request)}/cancel", wish)
    return Redirect(f"/console/runs/{segment(request.names['id'])}")


async def rerun(api: Api, request: PageRequest) -> Redirect:
    """Start an execution once more, with changes of its input if there are any."""
    changes = json_object(request.field("workload"), label="Input")
    wish = RerunRequest(workload=dict(changes)) if changes else RerunRequest()
    started = await api.send(ExecuteAnswer, f"{path_of(request)}/rerun", wish, once=request.once)
    return Redirect(f"/console/runs/{started.execution_id}")


async def restart(api: Api, request: PageRequest) -> Redirect:
    """Restart an execution from a step, or from its failures."""
    given: dict[str, Any] = {}
    if request.field("from_step"):
        given["from_step"] = request.field("from_step")
    changes = json_object(request.field("input"), label="Input")
    if changes:
        given["input"] = dict(changes)
    wish = RestartRequest(**given)
    path = f"{path_of(request)}/restart"
    started = await api.send(RestartAnswer, path, wish, once=request.once)
    return Redirect(f"/console/runs/{started.execution_id}")


async def pause(api: Api, request: PageRequest) -> Redirect:
    """Hand out no more commands of an execution, or again."""
    action = "resume" if request.field("action") == "resume" else "pause"
    await api.send(dict[str, Any], f"{path_of(request)}/{action}", {"reason": "from the console"})
    return Redirect(f"/console/runs/{segment(request.names['id'])}")
