"""The read model moved or rebuilt by request, one function per request (P3)."""

from datetime import timedelta

import asyncpg
from noetl_common.bus.rpc import RpcHandler
from noetl_contract.json import JsonObject
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import rpc_subject

from noetl_projector.projection.store import ProjectionStore
from noetl_projector.settings import Settings

type Pool = asyncpg.Pool[asyncpg.Record]

_MOST_ROWS = 5000


class ProjectionHandlers:
    """`projection.advance` and `projection.rebuild`."""

    def __init__(self, store: ProjectionStore, *, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        handlers: dict[str, RpcHandler] = {
            "projection.advance": self.on_advance,
            "projection.rebuild": self.on_rebuild,
        }
        shard = self._settings.shard_index
        return {
            rpc_subject("projector", name, shard=shard): handler
            for name, handler in handlers.items()
        }

    async def on_advance(self, request: JsonObject) -> RpcReply:
        """Move the named executions to the positions of their logs, or all that lag behind."""
        limit = max(1, min(int(request.get("limit", 1000)), _MOST_ROWS))
        named = request.get("execution_ids")
        if named is None:
            reach = timedelta(seconds=self._settings.sweep_first_reach_seconds)
            since = await self._store.read_clock() - reach
            ids = await self._store.find_lagging(ended_after=since, limit=limit)
        else:
            ids = [int(number) for number in named]
        moved = await self._store.move_executions(ids) if ids else 0
        return RpcReply(body={"advanced": moved, "checked": len(ids)})

    async def on_rebuild(self, request: JsonObject) -> RpcReply:
        """Rewrite one page of the read model; after the last page count again."""
        after = request.get("after")
        limit = max(1, min(int(request.get("limit", 1000)), _MOST_ROWS))
        page = await self._store.rebuild_page(
            after=None if after is None else int(after), limit=limit
        )
        if page.after is None:
            await self._store.recount()
        return RpcReply(
            body={"rewritten": page.rewritten, "removed": page.removed, "after": page.after}
        )
