"""Statements that move and rebuild the read model."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
from noetl_common.pg.errors import translate
from noetl_common.pg.queries import Queries

type Pool = asyncpg.Pool[asyncpg.Record]

_FIRST_ID = -(1 << 63)
_LAST_ID = (1 << 63) - 1
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '5s'"


@dataclass(frozen=True, slots=True)
class RebuiltPage:
    """Counts of one page; `after` is where the next page begins, None at the end."""

    rewritten: int
    removed: int
    after: int | None


class ProjectionStore:
    """One method per statement or transaction; errors of the driver become ours."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = Queries.load("noetl_projector.projection")

    async def move_executions(self, execution_ids: Sequence[int]) -> int:
        """Move rows of the read model to the positions of their logs.

        Repeating it changes nothing. Returns how many rows moved.
        """
        ids = list(execution_ids)
        with translate():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(self._sql["add_missing_executions"], ids)
                moved = await connection.fetchval(self._sql["move_executions"], ids, False)
        return int(moved)

    async def read_clock(self) -> datetime:
        """Return the database's time."""
        moment: datetime = await self._value("read_clock")
        return moment

    async def find_lagging(self, *, ended_after: datetime, limit: int) -> list[int]:
        """Return executions whose row is behind their log."""
        rows = await self._rows("find_lagging", ended_after, limit)
        return [row["execution_id"] for row in rows]

    async def rebuild_page(self, *, after: int | None, limit: int) -> RebuiltPage:
        """Rewrite one page of rows, and delete rows of executions that are gone.

        Pages go by execution id, not by event id: late commits carry old event ids. The
        projection may go on meanwhile: a row that is ahead stays as it is.
        """
        first = _FIRST_ID if after is None else after
        with translate():
            async with self._pool.acquire() as connection, connection.transaction():
                page = await connection.fetch(self._sql["page_executions"], first, limit)
                ids = [row["execution_id"] for row in page]
                is_last = len(ids) < limit
                last = _LAST_ID if is_last else ids[-1]
                await connection.execute(self._sql["add_missing_executions"], ids)
                rewritten = await connection.fetchval(self._sql["move_executions"], ids, True)
                removed = await connection.fetchval(self._sql["delete_orphans"], first, last)
        return RebuiltPage(int(rewritten), int(removed), None if is_last else last)

    async def recount(self) -> None:
        """Count all rows again: the differences kept so far never correct an earlier mistake."""
        with translate():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(_LOCK_TIMEOUT)
                await connection.execute(self._sql["lock_rows"])
                await connection.execute(self._sql["delete_counters"])
                await connection.execute(self._sql["recount"])

    async def _rows(self, name: str, *values: object) -> list[asyncpg.Record]:
        with translate():
            return await self._pool.fetch(self._sql[name], *values)

    async def _value(self, name: str, *values: object) -> Any:
        with translate():
            return await self._pool.fetchval(self._sql[name], *values)
