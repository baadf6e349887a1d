"""`/api/result/*`: large results, kept outside the log."""

from typing import Any

from pydantic import Field

from noetl_contract.http.moments import Rfc3339
from noetl_contract.http.scalars import Flag
from noetl_contract.model import Model, example


class ResultPutRequest(Model):
    """A result to store; `store`, `ttl`, `correlation` and `compress` have no effect."""

    model_config = example(name="fetch", data={"rows": [1, 2, 3]}, source_step="fetch")

    name: str
    data: Any
    scope: str = "execution"
    source_step: str | None = None
    store: str | None = None
    ttl: str | None = None
    compress: Flag = False


class ResultPutAnswer(Model):
    """Reference of a stored result; size and digest are of its compact JSON."""

    ref: str
    store: str
    scope: str
    bytes: int
    sha256: str
    expires_at: None = None


class StoredResult(Model):
    """The newest result of a name, with its description."""

    ref: str
    name: str
    scope: str
    source_step: str | None
    bytes: int
    sha256: str
    created_at: Rfc3339
    data: Any = Field(default=None, description="absent with `resolve=false`")


class ListedResult(Model):
    """A stored result without its data."""

    ref: str
    name: str
    scope: str
    source_step: str | None
    store: str
    bytes: int
    sha256: str
    created_at: Rfc3339
    expires_at: Rfc3339 | None


class ResultList(Model):
    """The stored results of an execution, oldest first."""

    execution_id: int | str
    results: list[ListedResult]
    count: int


class DeletedResults(Model):
    """Number of deleted results."""

    execution_id: int | str
    deleted: int


class StoreSize(Model):
    """Size of one store."""

    store: str
    results: int
    bytes: int


class ResultStats(Model):
    """Number and size of results, by store."""

    total_results: int
    total_bytes: int
    stores: list[StoreSize]
