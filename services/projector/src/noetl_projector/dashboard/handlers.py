"""Numbers of the dashboard and what tables there are (http-a 13 and 14.2).

Nothing here counts executions: the projection keeps the counters.
"""

from typing import Any

import asyncpg
from noetl_common.bus.rpc import RpcHandler
from noetl_common.pg.errors import translate
from noetl_common.pg.queries import Queries
from noetl_contract.http.moments import rfc3339
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import rpc_subject

from noetl_projector.settings import Settings


type Pool = asyncpg.Pool[asyncpg.Record]

_DAYS = 7
_RECENT = 10


class DashboardHandlers:
    """Answers from the read model of one shard; the edge adds the shards up."""

    def __init__(self, pool: Pool, *, settings: Settings) -> None:
        self._pool = pool
        self._settings = settings
        self._sql = Queries.load("noetl_projector", "dashboard.sql")

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        handlers: dict[str, RpcHandler] = {
            "dashboard.counters": self.on_counters,
            "dashboard.widgets": self.on_widgets,
            "schema.tables": self.on_tables,
        }
        shard = self._settings.shard_index
        return {
            rpc_subject("projector", name, shard=shard): handler
            for name, handler in handlers.items()
        }

    async def on_counters(self, _request: Request) -> RpcReply:
        """Return how many executions have each status."""
        with translate():
            rows = await self._pool.fetch(self._sql["sum_counters"])
        return RpcReply(body={row["status"]: row["executions"] for row in rows})

    async def on_widgets(self, _request: Request) -> RpcReply:
        """Return executions by day, and the newest ones."""
        with translate():
            days = await self._pool.fetch(self._sql["list_days"], _DAYS)
            recent = await self._pool.fetch(self._sql["list_recent"], _RECENT)
        return RpcReply(
            body={
                "days": {row["day"].isoformat(): row["executions"] for row in days},
                "recent": [
                    {
                        "execution_id": row["execution_id"],
                        "path": row["path"],
                        "status": row["status"],
                        "started_at": rfc3339(row["started_at"]),
                    }
                    for row in recent
                ],
            }
        )

    async def on_tables(self, _request: Request) -> RpcReply:
        """Return the tables of our schema; ``exists`` is false without the schema."""
        with translate():
            rows = await self._pool.fetch(self._sql["list_tables"])
        tables = [row["table_name"] for row in rows if row["table_name"] is not None]
        return RpcReply(body={"exists": bool(rows), "tables": tables})
