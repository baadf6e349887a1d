"""`/api/dashboard/*`: numbers that the projections keep."""

import asyncio
from collections import Counter

from litestar import Response, get
from noetl_contract.events import ExecutionStatus
from noetl_contract.http.system.dashboard import DashboardStatsAnswer, DashboardWidgetsAnswer
from noetl_contract.json import Json, JsonObject

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer, with_text_ids
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.openapi import documented
from noetl_api_gateway.http.shell import is_browser_like
from noetl_api_gateway.upstream.services import body_of

_RECENT = 10


@get(
    "/api/dashboard/stats",
    summary="How many executions, playbooks and workers there are",
    tags=["dashboard"],
    operation_class=documented(None, DashboardStatsAnswer),
)
async def stats(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Add up the counters of all shards; none of them counts executions now."""
    catalog, shards = await asyncio.gather(
        gateway.services.catalog("counts", {}), _of_shards(gateway, "dashboard.counters")
    )
    counts = body_of(catalog)
    executions: Counter[str] = Counter()
    for counters in shards:
        executions.update(counters)
    ended = {
        "successful_executions": executions[ExecutionStatus.COMPLETED],
        "failed_executions": executions[ExecutionStatus.FAILED],
        "cancelled_executions": executions[ExecutionStatus.CANCELLED],
    }
    total = executions.total()
    body = {
        "status": "ok",
        "stats": {
            "total_executions": total,
            **ended,
            "running_executions": total - sum(ended.values()),
            "total_playbooks": counts["total_playbooks"],
            "total_workers": counts["total_workers"],
        },
    }
    return json_answer(request, body)


@get(
    "/api/dashboard/widgets",
    summary="Executions of the last seven days, and the newest ones",
    tags=["dashboard"],
    operation_class=documented(None, DashboardWidgetsAnswer),
)
async def widgets(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Merge the figures of all shards; days without an execution are left out."""
    shards = await _of_shards(gateway, "dashboard.widgets")
    days: Counter[str] = Counter()
    recent: list[JsonObject] = []
    for shard in shards:
        days.update(shard["days"])
        recent += shard["recent"]
    recent.sort(key=lambda one: (one["started_at"], one["execution_id"]), reverse=True)
    columns = ["execution_id", "path", "status"]
    rows = [{name: one[name] for name in columns} for one in recent[:_RECENT]]
    body = {
        "widgets": [
            {
                "id": "execution-trend",
                "type": "chart",
                "title": "Execution Trend (7 days)",
                "config": {"chart_type": "line", "time_range": "7d"},
                "data": [{"date": day, "count": days[day]} for day in sorted(days)],
            },
            {
                "id": "recent-executions",
                "type": "table",
                "title": "Recent Executions",
                "config": {"columns": columns},
                # Elsewhere `data` is free JSON, in which ids stay as they are.
                "data": with_text_ids(rows) if is_browser_like(request.scope) else rows,
            },
        ]
    }
    return json_answer(request, body)


async def _of_shards(gateway: Gateway, operation: str) -> list[Json]:
    replies = await asyncio.gather(
        *(
            gateway.services.projector(operation, {}, shard=shard)
            for shard in range(max(gateway.services.shard_count, 1))
        )
    )
    return [body_of(reply) for reply in replies]


ROUTES = [stats, widgets]
