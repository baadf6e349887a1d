"""`/api/result/*`: large results, kept outside the log."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from noetl_contract.http.moments import Rfc3339
from noetl_contract.http.scalars import Flag

__all__ = [
    "DeletedResults",
    "ListedResult",
    "ResultList",
    "ResultPutAnswer",
    "ResultPutRequest",
    "ResultStats",
    "StoreSize",
    "StoredResult",
]

_TOLERANT = ConfigDict(frozen=True, extra="ignore")


class ResultPutRequest(BaseModel):
    """A result to keep; `store`, `ttl`, `correlation` and `compress` have no effect."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={
            "examples": [{"name": "fetch", "data": {"rows": [1, 2, 3]}, "source_step": "fetch"}]
        },
    )

    name: str
    data: Any
    scope: str = "execution"
    source_step: str | None = None
    store: str | None = None
    ttl: str | None = None
    compress: Flag = False


class ResultPutAnswer(BaseModel):
    """Where the result is; size and digest are of its compact JSON with sorted keys."""

    model_config = _TOLERANT

    ref: str
    store: str
    scope: str
    bytes: int
    sha256: str
    expires_at: None = None


class StoredResult(BaseModel):
    """The newest result of a name, with its description."""

    model_config = _TOLERANT

    ref: str
    name: str
    scope: str
    source_step: str | None
    bytes: int
    sha256: str
    created_at: Rfc3339
    data: Any = Field(default=None, description="absent with `resolve=false`")


class ListedResult(BaseModel):
    """A stored result without its data."""

    model_config = _TOLERANT

    ref: str
    name: str
    scope: str
    source_step: str | None
    store: str
    bytes: int
    sha256: str
    created_at: Rfc3339
    expires_at: Rfc3339 | None


class ResultList(BaseModel):
    """The stored results of an execution, oldest first."""

    model_config = _TOLERANT

    execution_id: int | str
    results: list[ListedResult]
    count: int


class DeletedResults(BaseModel):
    """Number of deleted results."""

    model_config = _TOLERANT

    execution_id: int | str
    deleted: int


class StoreSize(BaseModel):
    """Size of one store."""

    model_config = _TOLERANT

    store: str
    results: int
    bytes: int


class ResultStats(BaseModel):
    """Number and size of results, by store."""

    model_config = _TOLERANT

    total_results: int
    total_bytes: int
    stores: list[StoreSize]
