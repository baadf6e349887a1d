"""Numbers of the dashboard, and the tables of the schema, one function per operation.

Nothing here counts executions: the projection keeps the counters.
"""

from noetl_bus.rpc import Handlers, answers
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.projector import (
    DASHBOARD_COUNTERS,
    DASHBOARD_WIDGETS,
    SCHEMA_TABLES,
    SchemaTables,
    ShardWidgets,
)

from noetl_projector.dashboard.store import DashboardStore

_DAYS = 7
_RECENT = 10


class DashboardHandlers(Handlers):
    """Answers from the read model of one shard; the edge adds the shards up."""

    def __init__(self, store: DashboardStore) -> None:
        self._store = store

    @answers(DASHBOARD_COUNTERS)
    async def on_counters(self, _request: Nothing) -> dict[str, int]:
        """Return the number of executions by status."""
        return await self._store.sum_counters()

    @answers(DASHBOARD_WIDGETS)
    async def on_widgets(self, _request: Nothing) -> ShardWidgets:
        """Return the number of executions by day, and the newest executions."""
        days = await self._store.list_days(days=_DAYS)
        return ShardWidgets(
            days={day.isoformat(): executions for day, executions in days.items()},
            recent=await self._store.list_recent(limit=_RECENT),
        )

    @answers(SCHEMA_TABLES)
    async def on_tables(self, _request: Nothing) -> SchemaTables:
        """Return the tables of our schema; ``exists`` is false without the schema."""
        tables = await self._store.list_tables()
        return SchemaTables(exists=tables is not None, tables=tables or [])
