"""Executions that wait for people, and the answers that people give."""

from noetl_contract.http.executions.waits import SignalAnswer, SignalRequest, WaitEntry, WaitList
from noetl_contract.waits.form import BadForm, Form, read_form

from noetl_console.api import Api, segment
from noetl_console.drawing.forms import json_value, typed_payload, wait_fields
from noetl_console.requests import BadField, Page, PageRequest, Redirect

_PAGE = 50


async def waits(api: Api, request: PageRequest) -> Page:
    """List open waits, the oldest first, each with its form."""
    path = request.query.get("path", "").strip()
    found = await api.read(
        WaitList, "waits", path=path, limit=_PAGE, after=request.query.get("after", "")
    )
    return Page(
        "waits.html",
        {
            "waits": [(one, wait_fields(_form(one))) for one in found.waits],
            "path": path,
            "next": found.next,
        },
        title="Waits",
    )


async def answer(api: Api, request: PageRequest) -> Redirect:
    """Send the signal that ends a wait, with the fields of its form."""
    wait = await _wait(api, request)
    if wait.signal is None:
        raise BadField("This wait ends by itself: no signal is expected")
    form = _form(wait)
    if form:
        payload: object = typed_payload(form, request)
    else:
        text = request.field("payload").strip()
        payload = json_value(text, label="Answer") if text else None
    await api.send(
        SignalAnswer,
        f"executions/{segment(wait.execution_id)}/signals/{segment(wait.signal)}",
        SignalRequest(id=f"console-{wait.wait_id}", payload=payload, wait_id=wait.wait_id),
    )
    return Redirect(f"/console/runs/{wait.execution_id}")


def _form(wait: WaitEntry) -> Form:
    try:
        return read_form(wait.form)
    except BadForm:
        return ()


async def _wait(api: Api, request: PageRequest) -> WaitEntry:
    found = await api.read(WaitList, "waits", execution_id=request.names["id"], limit=500)
    for one in found.waits:
        if one.wait_id == request.names["wait"]:
            return one
    raise BadField("This wait is over: somebody has answered, or its time is up")
