"""Reads of a log up to a cutoff."""

import asyncio
from datetime import datetime

from noetl_pg.database import Row, Store

from noetl_projector.replay.fold import ReplayRow


class ReplayStore(Store):
    """One method per statement or transaction."""

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
        cutoff = await self._db.fetchval("find_cutoff", execution_id, event_id, position, moment)
        rows = await self._db.fetch("read_replay_rows", execution_id, cutoff, limit)
        # A log may be long: its rows are not built in the event loop.
        return await asyncio.to_thread(_replay_rows, rows)


def _replay_rows(rows: list[Row]) -> list[ReplayRow]:
    return [ReplayRow(**row) for row in rows]
