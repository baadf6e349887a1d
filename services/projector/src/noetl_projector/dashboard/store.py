"""Counters of the read model, the newest executions and the tables of the schema."""

from datetime import date

from noetl_contract.rpc.projector import RecentExecution
from noetl_pg.database import Store


class DashboardStore(Store):
    """One method per statement or transaction."""

    async def sum_counters(self) -> dict[str, int]:
        """Return the number of executions by status."""
        rows = await self._db.fetch("sum_counters")
        return {row["status"]: row["executions"] for row in rows}

    async def list_days(self, *, days: int) -> dict[date, int]:
        """Return the number of executions by the UTC day of their start."""
        rows = await self._db.fetch("list_days", days)
        return {row["day"]: row["executions"] for row in rows}

    async def list_recent(self, *, limit: int) -> list[RecentExecution]:
        """Return the newest executions."""
        rows = await self._db.fetch("list_recent", limit)
        return [RecentExecution(**row) for row in rows]

    async def list_tables(self) -> list[str] | None:
        """Return the tables and views of our schema; None without the schema."""
        rows = await self._db.fetch("list_tables")
        names = [row["table_name"] for row in rows if row["table_name"] is not None]
        return names if rows else None
