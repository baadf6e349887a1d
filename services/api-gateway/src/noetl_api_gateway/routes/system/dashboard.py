"""`/api/dashboard/*`: numbers that the projections keep."""

import asyncio
from collections import Counter

from litestar import Response
from noetl_contract.access.rights import Right
from noetl_contract.events import ExecutionStatus
from noetl_contract.http.system.dashboard import (
    DashboardStats,
    DashboardStatsAnswer,
    DashboardWidget,
    DashboardWidgetsAnswer,
)
from noetl_contract.rpc.catalog import COUNTS
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.projector import DASHBOARD_COUNTERS, DASHBOARD_WIDGETS

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.shell import is_browser_like
from noetl_api_gateway.routes.forwarding import Needs, Topic

TOPIC = Topic("dashboard")
_RECENT = 10


@TOPIC.route(
    "GET /api/dashboard/stats",
    DashboardStatsAnswer,
    needs=Needs(Right.DASHBOARD_READ, is_whole=True),
    summary="How many executions, playbooks and workers there are",
)
async def stats(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Add up the stored counters of all shards; no executions are counted for it."""
    services = gateway.services
    counts, shards = await asyncio.gather(
        services.ask(COUNTS, Nothing()), services.ask_all(DASHBOARD_COUNTERS, Nothing())
    )
    executions: Counter[str] = Counter()
    for counters in shards:
        executions.update(counters)
    completed = executions[ExecutionStatus.COMPLETED]
    failed = executions[ExecutionStatus.FAILED]
    cancelled = executions[ExecutionStatus.CANCELLED]
    numbers = DashboardStats(
        total_executions=executions.total(),
        successful_executions=completed,
        failed_executions=failed,
        cancelled_executions=cancelled,
        running_executions=executions.total() - completed - failed - cancelled,
        total_playbooks=counts.total_playbooks,
        total_workers=counts.total_workers,
    )
    return json_answer(request, DashboardStatsAnswer(status="ok", stats=numbers))


@TOPIC.route(
    "GET /api/dashboard/widgets",
    DashboardWidgetsAnswer,
    needs=Needs(Right.DASHBOARD_READ, is_whole=True),
    summary="Executions of the last seven days, and the newest ones",
)
async def widgets(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Merge the figures of all shards; days without an execution are left out."""
    shards = await gateway.services.ask_all(DASHBOARD_WIDGETS, Nothing())
    days: Counter[str] = Counter()
    for shard in shards:
        days.update(shard.days)
    recent = sorted(
        (one for shard in shards for one in shard.recent),
        key=lambda one: (one.started_at, one.execution_id),
        reverse=True,
    )
    # Elsewhere `data` is free JSON, in which ids stay as they are.
    has_text_ids = is_browser_like(request.scope)
    answer = DashboardWidgetsAnswer(
        widgets=[
            DashboardWidget(
                id="execution-trend",
                type="chart",
                title="Execution Trend (7 days)",
                config={"chart_type": "line", "time_range": "7d"},
                data=[{"date": day, "count": days[day]} for day in sorted(days)],
            ),
            DashboardWidget(
                id="recent-executions",
                type="table",
                title="Recent Executions",
                config={"columns": ["execution_id", "path", "status"]},
                data=[
                    {
                        "execution_id": str(one.execution_id) if has_text_ids else one.execution_id,
                        "path": one.path,
                        "status": one.status,
                    }
                    for one in recent[:_RECENT]
                ],
            ),
        ]
    )
    return json_answer(request, answer)
