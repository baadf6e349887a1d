"""Operations of the outbox: event rows for publishers outside of the service."""

from pydantic import BaseModel, Field

from noetl_contract.http.system.internal import ClaimedRows, MarkedRow, MarkedRows, PendingRows
from noetl_contract.rpc.models import MODEL, Nothing
from noetl_contract.rpc.operation import Operation

__all__ = [
    "CLAIM",
    "MARK_FAILED",
    "MARK_PUBLISHED",
    "PENDING",
    "FailedRow",
    "PublishedRows",
    "RowsRequest",
]


class RowsRequest(BaseModel):
    """How many rows to borrow, 1000 at most."""

    model_config = MODEL

    limit: int = 100


class PublishedRows(BaseModel):
    """Ids of rows that were published."""

    model_config = MODEL

    outbox_ids: list[int]


class FailedRow(BaseModel):
    """A row that was not published; ``attempts`` as the claim gave it."""

    model_config = MODEL

    outbox_id: int
    error: str
    attempts: int = 1
    max_delay_seconds: int = Field(default=300, description="longest pause before the next try")


CLAIM = Operation(
    service="outbox",
    name="claim",
    request=RowsRequest,
    answer=ClaimedRows,
    scope="shard",
    summary="Borrow event rows for a while, fewer than asked for when they are large.",
)
MARK_PUBLISHED = Operation(
    service="outbox",
    name="mark.published",
    request=PublishedRows,
    answer=MarkedRows,
    scope="shard",
    summary="Mark borrowed rows as published.",
)
MARK_FAILED = Operation(
    service="outbox",
    name="mark.failed",
    request=FailedRow,
    answer=MarkedRow,
    scope="shard",
    summary="Give a row back; true also for a row that does not exist.",
)
PENDING = Operation(
    service="outbox",
    name="pending",
    request=Nothing,
    answer=PendingRows,
    scope="shard",
    summary="Count the rows that a claim would see.",
)
