"""Failed executions that were not handled yet, grouped by fingerprint."""

import re

from noetl_contract.http.executions.failures import (
    FailureDismissAnswer,
    FailureDismissRequest,
    FailureList,
    FailureRestartAnswer,
    FailureRestartRequest,
)

from noetl_console.api import Api
from noetl_console.pages.runs import Outcome
from noetl_console.requests import BadField, Page, PageRequest, Redirect

_STATES = ("open", "restarted", "dismissed", "all")
_PAGE = 20
_OFFSET = re.compile(r"[0-9]{1,9}")
_MOST_DISMISSALS = 100
"""Calls of one action, of a hundred failures each."""


async def failures(api: Api, request: PageRequest) -> Page:
    """List groups of failures, those that failed last first."""
    state = request.query.get("state", "open")
    path = request.query.get("path", "").strip()
    text = request.query.get("offset", "0")
    offset = int(text) if _OFFSET.fullmatch(text) else 0
    found = await api.read(
        FailureList,
        "failures",
        state=state if state in _STATES else "open",
        path=path,
        limit=_PAGE,
        offset=offset,
    )
    return Page(
        "failures.html",
        {
            "groups": found.failures,
            "is_complete": found.is_complete,
            "state": state,
            "states": _STATES,
            "path": path,
            "next_offset": offset + _PAGE if len(found.failures) == _PAGE else None,
        },
        title="Failures",
    )


async def act_on_failures(api: Api, request: PageRequest) -> Page | Redirect:
    """Restart the executions of a group, a hundred at a time, or take them off the list."""
    fingerprint = request.field("fingerprint")
    match request.field("action"):
        case "restart":
            answer = await api.send(
                FailureRestartAnswer,
                "failures/restart",
                FailureRestartRequest(fingerprint=fingerprint),
            )
            outcomes = [
                Outcome(
                    one.execution_id,
                    text="goes on as",
                    new=one.restarted_as or "",
                    error=one.error or "",
                )
                for one in answer.results
            ]
            shown = {"outcomes": outcomes, "action": "restart", "has_more": answer.has_more}
            return Page("outcomes.html", shown, title="Restarted")
        case "dismiss":
            wish = FailureDismissRequest(fingerprint=fingerprint)
            for _ in range(_MOST_DISMISSALS):
                done = await api.send(FailureDismissAnswer, "failures/dismiss", wish)
                if not done.has_more or not done.dismissed:
                    break
            return Redirect("/console/failures")
        case _:
            raise BadField("action: restart or dismiss")
