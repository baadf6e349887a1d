"""Counters of the read model, the newest executions and the tables of the schema."""

from dataclasses import dataclass
from datetime import date, datetime

import asyncpg
from noetl_common.pg.errors import translate
from noetl_common.pg.queries import Queries

type Pool = asyncpg.Pool[asyncpg.Record]


@dataclass(frozen=True, slots=True)
class RecentExecution:
    """An execution in the list of the newest."""

    execution_id: int
    path: str
    status: str
    started_at: datetime


class DashboardStore:
    """One method per statement or transaction; errors of the driver become ours."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = Queries.load("noetl_projector.dashboard")

    async def sum_counters(self) -> dict[str, int]:
        """Return the number of executions by status."""
        with translate():
            rows = await self._pool.fetch(self._sql["sum_counters"])
        return {row["status"]: row["executions"] for row in rows}

    async def list_days(self, *, days: int) -> dict[date, int]:
        """Return the number of executions by the UTC day of their start."""
        with translate():
            rows = await self._pool.fetch(self._sql["list_days"], days)
        return {row["day"]: row["executions"] for row in rows}

    async def list_recent(self, *, limit: int) -> list[RecentExecution]:
        """Return the newest executions."""
        with translate():
            rows = await self._pool.fetch(self._sql["list_recent"], limit)
        return [RecentExecution(**row) for row in rows]

    async def list_tables(self) -> list[str] | None:
        """Return the tables and views of our schema; None without the schema."""
        with translate():
            rows = await self._pool.fetch(self._sql["list_tables"])
        names = [row["table_name"] for row in rows if row["table_name"] is not None]
        return names if rows else None
