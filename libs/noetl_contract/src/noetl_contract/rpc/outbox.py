"""Operations of the outbox: event rows for publishers outside of the service."""

from noetl_contract.http.system.internal import ClaimedRows, MarkedRow, MarkedRows, PendingRows
from noetl_contract.model import Struct
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.operation import Operation


class RowsRequest(Struct):
    """How many rows to borrow, 1000 at most."""

    limit: int = 100


class PublishedRows(Struct):
    """Ids of rows that were published."""

    outbox_ids: list[int]


class FailedRow(Struct):
    """A row that was not published; ``attempts`` as the claim gave it.

    ``max_delay_seconds`` is the longest pause before the next try.
    """

    outbox_id: int
    error: str
    attempts: int = 1
    max_delay_seconds: int = 300


CLAIM = Operation("outbox", "claim", RowsRequest, ClaimedRows)
"""Borrow event rows for a while, fewer than asked for when they are large."""
MARK_PUBLISHED = Operation("outbox", "mark.published", PublishedRows, MarkedRows)
"""Mark borrowed rows as published."""
MARK_FAILED = Operation("outbox", "mark.failed", FailedRow, MarkedRow)
"""Give a row back; true also for a row that does not exist."""
PENDING = Operation("outbox", "pending", Nothing, PendingRows)
"""Count the rows that a claim would see."""
