"""Making the read model anew while the system runs (design P3), and moving it on by request."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
from noetl_common.bus.rpc import RpcHandler
from noetl_common.pg.errors import translate
from noetl_common.pg.queries import Queries
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import rpc_subject

from noetl_projector.settings import Settings
from noetl_projector.executions.store import Store


type Pool = asyncpg.Pool[asyncpg.Record]

_FIRST_ID = -(1 << 63)
_LAST_ID = (1 << 63) - 1
_MOST_ROWS = 5000
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '5s'"


@dataclass(frozen=True, slots=True)
class RebuiltPage:
    """What a page of the walk did; `after` is where the next one begins, None at the end."""

    rewritten: int
    removed: int
    after: int | None


class Rebuild:
    """Walks executions by id, not events: late commits carry old event ids."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = Queries.load("noetl_projector", "rebuild.sql")
        # Rows begin and move alike, whoever looks at them.
        self._model = Queries.load("noetl_projector")

    async def write_page(self, *, after: int | None, limit: int) -> RebuiltPage:
        """Rewrite one page, and remove rows of executions that are no more.

        The projection may go on beside it: a row that is ahead stays as it is.
        """
        first = _FIRST_ID if after is None else after
        with translate():
            async with self._pool.acquire() as connection, connection.transaction():
                page = await connection.fetch(self._sql["read_page"], first, limit)
                ids = [row["execution_id"] for row in page]
                is_last = len(ids) < limit
                last = _LAST_ID if is_last else ids[-1]
                await connection.execute(self._model["add_missing_executions"], ids)
                rewritten = await connection.fetchval(self._model["move_executions"], ids, True)
                removed = await connection.fetchval(self._sql["delete_orphans"], first, last)
        return RebuiltPage(int(rewritten), int(removed), None if is_last else last)

    async def count_again(self) -> None:
        """Make the counters what the rows say: differences never find what was wrong before."""
        with translate():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(_LOCK_TIMEOUT)
                await connection.execute(self._sql["lock_models"])
                await connection.execute(self._sql["delete_counters"])
                await connection.execute(self._sql["count_again"])


class RebuildHandlers:
    """`projection.advance` and `projection.rebuild`."""

    def __init__(self, pool: Pool, store: Store, *, settings: Settings) -> None:
        self._rebuild = Rebuild(pool)
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
        """Move the named executions to where their logs are, or all that are found behind."""
        limit = max(1, min(int(request.get("limit", 1000)), _MOST_ROWS))
        named = request.get("execution_ids")
        if named is None:
            reach = timedelta(seconds=self._settings.sweep_first_reach_seconds)
            since = await self._store.read_clock() - reach
            ids = await self._store.find_lagging(ended_after=since, limit=limit)
        else:
            ids = [int(one) for one in named]
        moved = await self._store.move_executions(ids) if ids else 0
        return RpcReply(body={"advanced": moved, "checked": len(ids)})

    async def on_rebuild(self, request: JsonObject) -> RpcReply:
        """Rewrite one page of the read model; after the last one the counters are made again."""
        after = request.get("after")
        limit = max(1, min(int(request.get("limit", 1000)), _MOST_ROWS))
        page = await self._rebuild.write_page(
            after=None if after is None else int(after), limit=limit
        )
        if page.after is None:
            await self._rebuild.count_again()
        return RpcReply(
            body={"rewritten": page.rewritten, "removed": page.removed, "after": page.after}
        )
