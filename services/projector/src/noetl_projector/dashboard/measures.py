"""The number of executions, as a metric."""

from noetl_common.metrics import gauge
from noetl_contract.events import ExecutionStatus

from noetl_projector.dashboard.store import DashboardStore

EXECUTIONS = gauge(
    "noetl_executions", "Executions of the read model, by shard and status.", ("shard", "status")
)


async def measure(store: DashboardStore, *, shard: int) -> None:
    """Export the counters of the read model."""
    found = await store.sum_counters()
    for status in ExecutionStatus:
        EXECUTIONS.labels(str(shard), status).set(found.get(status, 0))
