"""Open work of an execution, read from its rows."""

from noetl_contract.http.executions.why import (
    OpenChild,
    OpenCommand,
    OpenLoop,
    OpenTimer,
    OpenWork,
    PoolLoad,
)
from noetl_pg.database import Database

_MOST_COMMANDS = 50
_MOST_TIMERS = 20
_MOST_CHILDREN = 20
_MOST_COUNTED = 10_000


class OpenWorkStore:
    """Reads the open work of executions; without one snapshot, which the diagnosis doesn't need."""

    def __init__(self, database: Database) -> None:
        self._db = database.with_statements(__package__, "open_work.sql")

    async def find(self, execution_id: int) -> OpenWork | None:
        """Return the open work of an execution; None for an unknown execution."""
        row = await self._db.fetchrow("find_execution", execution_id)
        if row is None:
            return None
        if row["status"] != "RUNNING":
            return OpenWork(**dict(row))
        commands = await self._db.fetch("open_commands", execution_id, _MOST_COMMANDS)
        children = await self._db.fetch("open_children", execution_id, _MOST_CHILDREN)
        timers = await self._db.fetch("open_timers", execution_id, _MOST_TIMERS)
        looped = sorted({one["step"] for one in commands if one["iteration"] is not None})
        loops = await self._db.fetch("open_loops", execution_id, looped) if looped else []
        pools = sorted({one["pool"] for one in commands})
        loads = await self._db.fetch("pool_loads", pools, _MOST_COUNTED) if pools else []
        outbox = await self._db.fetchone("pending_outbox", execution_id)
        return OpenWork(
            **dict(row),
            **dict(outbox),
            commands=[OpenCommand(**dict(one)) for one in commands],
            command_count=commands[0]["total"] if commands else 0,
            timers=[OpenTimer(**dict(one)) for one in timers],
            children=[
                OpenChild(**{**dict(one), "execution_id": str(one["execution_id"])})
                for one in children
            ],
            child_count=children[0]["total"] if children else 0,
            loops=[OpenLoop(**{**dict(one), "limit": one["loop_limit"]}) for one in loops],
            pools=[PoolLoad(**dict(one)) for one in loads],
        )
