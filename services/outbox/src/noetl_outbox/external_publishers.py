"""Event rows for publishers outside of this service."""

from datetime import timedelta

import asyncpg
import orjson
from noetl_common.bus.rpc import RpcHandler, encode_reply
from noetl_common.pg.errors import translate
from noetl_common.pg.queries import Queries
from noetl_contract.json import JsonObject
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import rpc_subject

from noetl_outbox.rows import message_body, stored_row
from noetl_outbox.settings import Settings

type Pool = asyncpg.Pool[asyncpg.Record]

_MOST_ROWS = 1000
_PAGE = 50
_LARGEST_EXPONENT = 8


class ExternalPublishers:
    """Lease event rows to external publishers, and record their results.

    While the relay publishes events too, it gets fresh rows first (O2). A row that both publish
    goes out twice under one message id, and the stream keeps one.
    """

    def __init__(self, pool: Pool, *, settings: Settings) -> None:
        self._pool = pool
        self._settings = settings
        self._shard = settings.shard_index
        grace = settings.outbox_grace_seconds if settings.outbox_relay_events else 0.0
        self._grace = timedelta(seconds=grace)
        self._lease = timedelta(seconds=settings.outbox_outside_lease_seconds)
        self._queries = Queries.load("noetl_outbox", "external_publishers.sql")

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

    async def on_claim(self, request: JsonObject) -> bytes:
        """Lease rows; fewer than requested if they are large."""
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

    async def on_published(self, request: JsonObject) -> RpcReply:
        """Mark rows as published."""
        async with translate():
            marked = await self._pool.fetchval(
                self._queries["mark_events_published"], list(request["outbox_ids"])
            )
        return RpcReply(body={"marked": marked})

    async def on_failed(self, request: JsonObject) -> RpcReply:
        """Put a row back; the answer is the same for a row that does not exist."""
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

    async def on_pending(self, _request: JsonObject) -> RpcReply:
        """Count the rows that wait for their publication."""
        async with translate():
            pending = await self._pool.fetchval(self._queries["count_pending_events"])
        return RpcReply(body={"pending": pending})


def pause_seconds(attempts: int, *, longest: int) -> int:
    """Return the pause before the next try: doubled with each, 256 s at most."""
    exponent = max(0, min(attempts - 1, _LARGEST_EXPONENT))
    return max(0, min(longest, 1 << exponent))


def _row_body(record: asyncpg.Record, *, shard: int, limit: int) -> JsonObject:
    """Return a row for an external publisher, with the payload of the relay (O4)."""
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
