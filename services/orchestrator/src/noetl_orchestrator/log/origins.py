"""Read the logs that restarted executions go on from."""

from noetl_contract.events import EventRow
from noetl_pg.database import Database


class Origins:
    """One method per statement; they have nothing to do with the connections of commits."""

    def __init__(self, database: Database) -> None:
        self._db = database.with_statements(__package__, "origins.sql")

    async def read_ends(self, execution_id: int, *, end: int) -> list[EventRow]:
        """Read the first row of a log and that at the position of its end, 0 for none."""
        return [EventRow(**row) for row in await self._db.fetch("read_ends", execution_id, end)]

    async def note_restart(self, execution_id: int, *, origin: int) -> None:
        """Keep an origin for as long as the execution that goes on from it; safe to repeat."""
        await self._db.execute("note_restart", execution_id, origin)

    async def find_origins(self, execution_id: int) -> set[int]:
        """Return the executions that one goes on from, also those further back."""
        rows = await self._db.fetch("find_origins", execution_id)
        return {int(row["origin_execution_id"]) for row in rows}

    async def read_runs(
        self, execution_id: int, *, after: int, up_to: int, limit: int
    ) -> list[EventRow]:
        """Read a page of the rows about runs and entries of steps."""
        rows = await self._db.fetch("read_runs", execution_id, after, up_to, limit)
        return [EventRow(**row) for row in rows]
