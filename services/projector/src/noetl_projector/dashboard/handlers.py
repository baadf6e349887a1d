"""Numbers of the dashboard, and the tables of the schema, one function per request.

Nothing here counts executions: the projection keeps the counters.
"""

from noetl_common.bus.rpc import RpcHandler
from noetl_contract.http.moments import rfc3339
from noetl_contract.json import JsonObject
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import rpc_subject

from noetl_projector.dashboard.store import DashboardStore
from noetl_projector.settings import Settings

_DAYS = 7
_RECENT = 10


class DashboardHandlers:
    """Answers from the read model of one shard; the edge adds the shards up."""

    def __init__(self, store: DashboardStore, *, settings: Settings) -> None:
        self._store = store
        self._settings = settings

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

    async def on_counters(self, _request: JsonObject) -> RpcReply:
        """Return the number of executions by status."""
        return RpcReply(body=await self._store.sum_counters())

    async def on_widgets(self, _request: JsonObject) -> RpcReply:
        """Return the number of executions by day, and the newest executions."""
        days = await self._store.list_days(days=_DAYS)
        recent = await self._store.list_recent(limit=_RECENT)
        return RpcReply(
            body={
                "days": {day.isoformat(): executions for day, executions in days.items()},
                "recent": [
                    {
                        "execution_id": execution.execution_id,
                        "path": execution.path,
                        "status": execution.status,
                        "started_at": rfc3339(execution.started_at),
                    }
                    for execution in recent
                ],
            }
        )

    async def on_tables(self, _request: JsonObject) -> RpcReply:
        """Return the tables of our schema; ``exists`` is false without the schema."""
        tables = await self._store.list_tables()
        return RpcReply(body={"exists": tables is not None, "tables": tables or []})
