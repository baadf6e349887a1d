"""State of the system: services, workers and their load, queues, outbox, dead letters."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from noetl_contract.http.system.dashboard import DashboardStatsAnswer
from noetl_contract.http.system.health import HealthAnswer, PoolStatusAnswer
from noetl_contract.http.system.state import GivenUpList, ServiceState, SystemAnswer
from noetl_contract.http.workers.pauses import PauseList
from noetl_contract.http.workers.runtimes import RuntimeEntry

from noetl_console.api import Api, Refused
from noetl_console.requests import Page, PageRequest

_NOT_ALLOWED = "You may not read this: an operator's right, system.read, is needed."
_MOST_WORKERS = 200


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """A worker: its own description, and how many commands it has.

    Attributes:
        kind: what it is made of, and for which pool.
        running: None where that is not known.
    """

    entry: RuntimeEntry
    kind: str
    pool: str
    tools: Sequence[str]
    running: int | None


async def system(api: Api, request: PageRequest) -> Page:
    """Show what each part reports about itself."""
    del request
    (health, database), workers, edges, pauses, stats, (state, why_not) = await asyncio.gather(
        asyncio.gather(
            api.read_if_allowed(HealthAnswer, "health"),
            api.read_if_allowed(PoolStatusAnswer, "pool/status"),
        ),
        api.read_if_allowed(list[RuntimeEntry], "worker/pools"),
        api.read_if_allowed(list[RuntimeEntry], "worker/pools", kind="server_api"),
        api.read_if_allowed(PauseList, "pauses"),
        api.read_if_allowed(DashboardStatsAnswer, "dashboard/stats"),
        _read_or_reason(api, SystemAnswer, "system"),
    )
    letters, _ = await _read_or_reason(api, GivenUpList, "dead-letters", limit=5)
    loads = _loads(state)
    return Page(
        "system.html",
        {
            "health": health,
            "workers": None
            if workers is None
            else [_line(one, loads) for one in workers[:_MOST_WORKERS]],
            "workers_left_out": max(len(workers or ()) - _MOST_WORKERS, 0),
            "edges": edges,
            "pauses": pauses.pauses if pauses else None,
            "stats": stats.stats if stats else None,
            "database": database,
            "state": state,
            "why_not": why_not,
            "letters": letters,
        },
        title="System",
    )


async def given_up(api: Api, request: PageRequest) -> Page:
    """List dead letters and parked rows with the commands that put them back."""
    found = await api.read(
        GivenUpList, "dead-letters", limit=50, before=request.query.get("before", "")
    )
    return Page("given_up.html", {"letters": found}, title="Dead letters")


async def settings(api: Api, request: PageRequest) -> Page:
    """Show the settings of one process of each service, and where each comes from."""
    found = await api.read(SystemAnswer, "system")
    wanted = request.query.get("all") == "1"
    shown = [
        (one, [each for each in one.settings if wanted or each.source != "default"])
        for one in found.services
    ]
    return Page(
        "settings.html",
        {"services": shown, "silent": found.silent, "with_defaults": wanted},
        title="Settings",
    )


async def _read_or_reason[T](
    api: Api, wanted: type[T], path: str, **query: str | int | None
) -> tuple[T | None, str]:
    """Return an answer, or why there is none."""
    try:
        return await api.read(wanted, path, **query), ""
    except Refused as refused:
        if refused.status == 401:
            raise
        return None, _NOT_ALLOWED if refused.status == 403 else refused.text


def _loads(state: SystemAnswer | None) -> Mapping[str, int] | None:
    """Return the commands of each worker over all shards; None where a shard doesn't report."""
    services: Sequence[ServiceState] = state.services if state else ()
    reported = [one.workers for one in services if one.service == "orchestrator"]
    if (
        not reported
        or None in reported
        or (state and any(one.shard is not None for one in state.silent))
    ):
        return None
    found: Counter[str] = Counter()
    for workers in reported:
        for one in workers or ():
            found[one.worker_id] += one.running
    return found


def _line(entry: RuntimeEntry, loads: Mapping[str, int] | None) -> WorkerLine:
    """Read a worker's description of itself, which may be anything."""
    labels, runtime = _object(entry.labels), _object(entry.runtime)
    tools = _object(entry.capabilities).get("tools")
    return WorkerLine(
        entry,
        kind=str(runtime.get("kind") or runtime.get("type") or entry.kind)[:40],
        pool=str(labels.get("pool_name") or labels.get("pool") or "")[:60],
        tools=[str(one)[:40] for one in tools[:60]] if isinstance(tools, list) else (),
        running=None if loads is None else loads.get(entry.name, 0),
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
