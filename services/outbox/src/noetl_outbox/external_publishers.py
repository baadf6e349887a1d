"""Event rows for publishers outside of this service."""

from datetime import timedelta

import orjson
from noetl_bus.rpc import Encoded, Handler, encoded, handle
from noetl_contract.http.system.internal import ClaimedRows, MarkedRow, MarkedRows, PendingRows
from noetl_contract.json import JsonObject
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.outbox import (
    CLAIM,
    MARK_FAILED,
    MARK_PUBLISHED,
    PENDING,
    FailedRow,
    PublishedRows,
    RowsRequest,
)
from noetl_pg.database import Database, Row

from noetl_outbox.rows import stored_row
from noetl_outbox.settings import Settings

_MOST_ROWS = 1000
_PAGE = 50
_LARGEST_EXPONENT = 8


class ExternalPublishers:
    """Lease event rows to external publishers, and record their results.

    While the relay publishes events too, fresh rows are reserved for the relay (O2). If both
    publish a row, both messages have the same id, and the stream keeps only the first.
    """

    def __init__(self, database: Database, *, settings: Settings) -> None:
        self._db = database.with_statements(__package__, "external_publishers.sql")
        self._settings = settings
        grace = settings.outbox_grace_seconds if settings.outbox_relay_events else 0.0
        self._grace = timedelta(seconds=grace)
        self._lease = timedelta(seconds=settings.outbox_outside_lease_seconds)

    def handlers(self) -> list[Handler]:
        """Return the handlers of all operations."""
        return [
            handle(CLAIM, self.on_claim),
            handle(MARK_PUBLISHED, self.on_published),
            handle(MARK_FAILED, self.on_failed),
            handle(PENDING, self.on_pending),
        ]

    async def on_claim(self, request: RowsRequest) -> Encoded[ClaimedRows]:
        """Lease rows; fewer than requested if they are large."""
        limit = max(1, min(request.limit, _MOST_ROWS))
        bytes_left = self._settings.outbox_outside_max_bytes
        rows: list[bytes] = []
        while bytes_left > 0 and len(rows) < limit:
            page = await self._claim(min(_PAGE, limit - len(rows)))
            rows += page
            bytes_left -= sum(map(len, page))
            if len(page) < _PAGE:
                break
        return encoded(CLAIM, {"rows": list(map(orjson.Fragment, rows)), "claimed": len(rows)})

    async def _claim(self, limit: int) -> list[bytes]:
        records = await self._db.fetch("claim_events", self._grace, self._lease, limit)
        shard = self._settings.shard_index
        return [orjson.dumps(_row_body(record, shard=shard)) for record in records]

    async def on_published(self, request: PublishedRows) -> MarkedRows:
        """Mark rows as published."""
        marked = await self._db.fetchval("mark_events_published", request.outbox_ids)
        return MarkedRows(marked=marked)

    async def on_failed(self, request: FailedRow) -> MarkedRow:
        """Return a row to the queue; the answer is the same for a row that does not exist."""
        pause = pause_seconds(request.attempts, longest=request.max_delay_seconds)
        await self._db.execute(
            "mark_event_failed", request.outbox_id, request.error, timedelta(seconds=pause)
        )
        return MarkedRow(marked=True, available_at_in=pause)

    async def on_pending(self, _request: Nothing) -> PendingRows:
        """Count the rows that are due to be published."""
        return PendingRows(pending=await self._db.fetchval("count_pending_events"))


def pause_seconds(attempts: int, *, longest: int) -> int:
    """Return the pause before the next attempt: doubled with each, at most 256 s."""
    exponent = max(0, min(attempts - 1, _LARGEST_EXPONENT))
    return max(0, min(longest, 1 << exponent))


def _row_body(record: Row, *, shard: int) -> JsonObject:
    """Return a row for an external publisher."""
    row = stored_row(record, shard=shard)
    return {
        "outbox_id": row.outbox_id,
        "event_id": row.event_id,
        "execution_id": row.execution_id,
        "subject": row.subject,
        "payload": row.payload,
        "payload_codec": record["payload_codec"],
        "attempts": row.attempts,
        "message_id": row.message_id,
    }
