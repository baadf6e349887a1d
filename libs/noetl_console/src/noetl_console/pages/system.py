"""How the system is: services, workers, queues, pauses."""

import asyncio

from noetl_contract.http.system.dashboard import DashboardStatsAnswer
from noetl_contract.http.system.health import HealthAnswer, PoolStatusAnswer
from noetl_contract.http.workers.pauses import PauseList
from noetl_contract.http.workers.runtimes import RuntimeEntry

from noetl_console.api import Api
from noetl_console.requests import Page, PageRequest


async def system(api: Api, request: PageRequest) -> Page:
    """Show what each part says of itself."""
    del request
    health, workers, edges, pauses, stats, database = await asyncio.gather(
        api.read_if_allowed(HealthAnswer, "health"),
        api.read_if_allowed(list[RuntimeEntry], "worker/pools"),
        api.read_if_allowed(list[RuntimeEntry], "worker/pools", kind="server_api"),
        api.read_if_allowed(PauseList, "pauses"),
        api.read_if_allowed(DashboardStatsAnswer, "dashboard/stats"),
        api.read_if_allowed(PoolStatusAnswer, "pool/status"),
    )
    return Page(
        "system.html",
        {
            "health": health,
            "workers": workers,
            "edges": edges,
            "pauses": pauses.pauses if pauses else None,
            "stats": stats.stats if stats else None,
            "database": database,
        },
        title="System",
    )
