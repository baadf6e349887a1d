"""Schedules: their playbooks, their times, and the outcomes of these."""

import asyncio
from typing import Any

from noetl_contract.http.catalog.schedules import (
    FiringList,
    NextTimes,
    ScheduleBody,
    ScheduleList,
)

from noetl_console.api import Api, segment
from noetl_console.requests import Page, PageRequest, Redirect

_MOST = 200


async def schedules(api: Api, request: PageRequest) -> Page:
    """List schedules by path."""
    found = await api.read(
        ScheduleList, "schedules", limit=_MOST, after=request.query.get("after", "")
    )
    return Page(
        "schedules.html",
        {"schedules": found.schedules, "after": found.after},
        title="Schedules",
    )


async def schedule(api: Api, request: PageRequest) -> Page:
    """Show one schedule with its next and its last times."""
    path = f"schedules/{segment(request.names['id'])}"
    one, following, history = await asyncio.gather(
        api.read(ScheduleBody, path),
        api.read_if_allowed(NextTimes, f"{path}/next"),
        api.read_if_allowed(FiringList, f"{path}/history"),
    )
    return Page(
        "schedule.html",
        {
            "schedule": one,
            "times": following.times if following else [],
            "firings": history.firings if history else [],
        },
        title=one.path,
    )


async def switch(api: Api, request: PageRequest) -> Redirect:
    """Pause a schedule, or let it go on."""
    action = "resume" if request.field("action") == "resume" else "pause"
    await api.send(dict[str, Any], f"schedules/{segment(request.names['id'])}/{action}", {})
    return Redirect(f"/console/schedules/{segment(request.names['id'])}")
