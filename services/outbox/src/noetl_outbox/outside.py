"""Event rows for publishers outside of the service (http-b 10.3 to 10.6)."""

from datetime import timedelta
from typing import Any

import asyncpg
import orjson
from noetl_common.bus.rpc import RpcHandler, encode_reply
from noetl_common.pg.errors import translate
from noetl_common.pg.queries import Queries
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import rpc_subject

from noetl_outbox.rows import message_body, stored_row
from noetl_outbox.settings import Settings

__all__ = ["OutsideHandlers", "pause_seconds"]

type Json = Any
type Pool = asyncpg.Pool[asyncpg.Record]

_MOST_ROWS = 1000
_PAGE = 50
_LARGEST_EXPONENT = 8


class OutsideHandlers:
    """Lends event rows to whoever publishes them, and hears what became of them.

    While the relay publishes events too, it has the first go at a fresh row (O2); a row that
    both take goes out twice under one message id, of which the stream keeps one.
    """

    def __init__(self, pool: Pool, *, settings: Settings) -> None:
        self._pool = pool
        self._settings = settings
        self._shard = settings.shard_index
        grace = settings.outbox_grace_seconds if settings.outbox_relay_events else 0.0
        self._grace = timedelta(seconds=grace)
        self._lease = timedelta(seconds=settings.outbox_outside_lease_seconds)
        self._queries = Queries.load("noetl_outbox", "outside.sql")

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        handlers: dict[str, RpcHandler] = {
            "claim": self.on_claim,
            "mark.published": self.on_published,
            "mark.failed": self.on_failed,
            "pending": self.on_pending,
        }
        return {
            rpc_subject("outbox", name, shard=self._shard): handler
            for name, handler in handlers.items()
        }

    async def on_claim(self, request: dict[str, Json]) -> bytes:
        """Take rows for a while, fewer than asked for when they are large."""
        limit = max(1, min(int(request.get("limit", 100)), _MOST_ROWS))
        left = self._settings.outbox_outside_max_bytes
        rows: list[bytes] = []
        while left > 0 and len(rows) < limit:
            page = await self._claim(min(_PAGE, limit - len(rows)))
            rows += page
            left -= sum(map(len, page))
            if len(page) < _PAGE:
                break
        return encode_reply({"rows": list(map(orjson.Fragment, rows)), "claimed": len(rows)})

    async def _claim(self, limit: int) -> list[bytes]:
        async with translate():
            records = await self._pool.fetch(
                self._queries["claim_events"], self._grace, self._lease, limit
            )
        most = self._settings.outbox_event_max_bytes
        return [
            orjson.dumps(_row_body(record, shard=self._shard, limit=most)) for record in records
        ]

    async def on_published(self, request: dict[str, Json]) -> RpcReply:
        """Mark rows as published."""
        async with translate():
            marked = await self._pool.fetchval(
                self._queries["mark_events_published"], list(request["outbox_ids"])
            )
        return RpcReply(body={"marked": marked})

    async def on_failed(self, request: dict[str, Json]) -> RpcReply:
        """Put a row back; true also for a row that is not there."""
        pause = pause_seconds(
            int(request.get("attempts", 1)), longest=int(request.get("max_delay_seconds", 300))
        )
        async with translate():
            await self._pool.execute(
                self._queries["mark_event_failed"],
                int(request["outbox_id"]),
                str(request["error"]),
                timedelta(seconds=pause),
            )
        return RpcReply(body={"marked": True, "available_at_in": pause})

    async def on_pending(self, _request: dict[str, Json]) -> RpcReply:
        """Count the rows that a claim would see."""
        async with translate():
            pending = await self._pool.fetchval(self._queries["count_pending_events"])
        return RpcReply(body={"pending": pending})


def pause_seconds(attempts: int, *, longest: int) -> int:
    """Return the pause before the next try: doubled with each, 256 s at most."""
    exponent = max(0, min(attempts - 1, _LARGEST_EXPONENT))
    return max(0, min(longest, 1 << exponent))


def _row_body(record: asyncpg.Record, *, shard: int, limit: int) -> dict[str, Json]:
    """Build a row as outsiders see it; its payload is what the relay would publish (O4)."""
    row = stored_row(record, shard=shard)
    payload = orjson.Fragment(message_body(row, may_inline=False, limit=limit))
    return {
        "outbox_id": row.outbox_id,
        "event_id": row.event_id,
        "execution_id": row.execution_id,
        "subject": row.subject,
        "payload": payload,
        "payload_codec": record["payload_codec"],
        "attempts": row.attempts,
        "message_id": row.message_id,
    }
