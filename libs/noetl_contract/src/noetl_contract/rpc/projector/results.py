"""Operations of the projector about stored results."""

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from noetl_contract.http.executions.results import (
    DeletedResults,
    ResultList,
    ResultPutAnswer,
    StoredResult,
    StoreSize,
)
from noetl_contract.json import Json
from noetl_contract.rpc.models import MODEL, Nothing
from noetl_contract.rpc.operation import Operation

__all__ = [
    "RESULT_DELETE",
    "RESULT_GET",
    "RESULT_LIST",
    "RESULT_PUT",
    "RESULT_RESOLVE",
    "RESULT_STATS",
    "NamedResult",
    "ResultFilter",
    "ResultPut",
    "ResultRef",
    "StoreSizes",
]

_JSON: TypeAdapter[Json] = TypeAdapter(Json)


class ResultPut(BaseModel):
    """A result to store: its data, or a subject from which the data is fetched in parts.

    Under the sender's ``result_id`` the request may be repeated (W13).
    """

    model_config = MODEL

    execution_id: int
    name: str
    data: Json = None
    data_at: str | None = Field(default=None, description="a subject; wins over `data`")
    result_id: int | None = None
    scope: str | None = None
    source_step: str | None = None
    expires_seconds: float | None = Field(
        default=None, description="life of the result; as long as the execution's if absent"
    )


class ResultRef(BaseModel):
    """The reference of a stored result: ``noetl://execution/<id>/result/<name>/<id>``."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={
            "examples": [{"ref": "noetl://execution/325077236512452608/result/fetch/17"}]
        },
    )

    ref: str


class NamedResult(BaseModel):
    """The name of a result of an execution."""

    model_config = MODEL

    execution_id: int
    name: str


class ResultFilter(BaseModel):
    """Results of an execution, of one scope or name where given."""

    model_config = MODEL

    execution_id: int
    scope: str | None = None
    name: str | None = None


class StoreSizes(BaseModel):
    """Stored results by place."""

    model_config = MODEL

    stores: list[StoreSize]


RESULT_PUT = Operation(
    service="projector",
    name="result.put",
    request=ResultPut,
    answer=ResultPutAnswer,
    scope="shard",
    summary="Store a result.",
)
RESULT_RESOLVE = Operation(
    service="projector",
    name="result.resolve",
    request=ResultRef,
    answer=_JSON,
    scope="shard",
    summary="Return the stored value itself.",
)
RESULT_GET = Operation(
    service="projector",
    name="result.get",
    request=NamedResult,
    answer=StoredResult,
    scope="shard",
    summary="Return the newest result of a name with its data.",
)
RESULT_LIST = Operation(
    service="projector",
    name="result.list",
    request=ResultFilter,
    answer=ResultList,
    scope="shard",
    summary="List results of an execution without their data.",
)
RESULT_DELETE = Operation(
    service="projector",
    name="result.delete",
    request=ResultFilter,
    answer=DeletedResults,
    scope="shard",
    summary="Delete results of an execution.",
)
RESULT_STATS = Operation(
    service="projector",
    name="result.stats",
    request=Nothing,
    answer=StoreSizes,
    scope="shard",
    summary="Return the number and size of stored results by place.",
)
