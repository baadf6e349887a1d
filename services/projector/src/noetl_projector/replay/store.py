"""Reads of a log up to a cutoff."""

import asyncio
from datetime import datetime

import asyncpg
from noetl_common.pg.errors import translate
from noetl_common.pg.queries import Queries

from noetl_projector.replay.fold import ReplayRow

type Pool = asyncpg.Pool[asyncpg.Record]


class ReplayStore:
    """One method per statement or transaction; errors of the driver become ours."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = Queries.load("noetl_projector.replay")

    async def read_rows(
        self,
        execution_id: int,
        *,
        event_id: int | None,
        position: int | None,
        moment: datetime | None,
        limit: int,
    ) -> list[ReplayRow]:
        """Return the rows of a log up to an event, a position or a moment, secrets not masked."""
        with translate():
            cutoff = await self._pool.fetchval(
                self._sql["find_cutoff"], execution_id, event_id, position, moment
            )
            rows = await self._pool.fetch(
                self._sql["read_replay_rows"], execution_id, cutoff, limit
            )
        # A log may be long: its rows are not built in the event loop.
        return await asyncio.to_thread(_replay_rows, rows)


def _replay_rows(rows: list[asyncpg.Record]) -> list[ReplayRow]:
    return [ReplayRow(**row) for row in rows]
