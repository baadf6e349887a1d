"""Operations of the projector about stored results."""

from pydantic import Field, TypeAdapter

from noetl_contract.http.executions.results import (
    DeletedResults,
    ResultList,
    ResultPutAnswer,
    StoredResult,
    StoreSize,
)
from noetl_contract.json import Json
from noetl_contract.model import Model, example
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.operation import Operation

_JSON: TypeAdapter[Json] = TypeAdapter(Json)


class ResultPut(Model):
    """A result to store: its data, or a subject from which the data is fetched in parts.

    Under the sender's ``result_id`` the request may be repeated (W13).
    """

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


class ResultRef(Model):
    """The reference of a stored result: ``noetl://execution/<id>/result/<name>/<id>``."""

    model_config = example(ref="noetl://execution/325077236512452608/result/fetch/17")

    ref: str


class NamedResult(Model):
    """The name of a result of an execution."""

    execution_id: int
    name: str


class ResultFilter(Model):
    """Results of an execution, of one scope or name where given."""

    execution_id: int
    scope: str | None = None
    name: str | None = None


class StoreSizes(Model):
    """Stored results by place."""

    stores: list[StoreSize]


RESULT_PUT = Operation("projector", "result.put", ResultPut, ResultPutAnswer)
"""Store a result."""
RESULT_RESOLVE = Operation("projector", "result.resolve", ResultRef, _JSON)
"""Return the stored value itself."""
RESULT_GET = Operation("projector", "result.get", NamedResult, StoredResult)
"""Return the newest result of a name with its data."""
RESULT_LIST = Operation("projector", "result.list", ResultFilter, ResultList)
"""List results of an execution without their data."""
RESULT_DELETE = Operation("projector", "result.delete", ResultFilter, DeletedResults)
"""Delete results of an execution."""
RESULT_STATS = Operation("projector", "result.stats", Nothing, StoreSizes)
"""Return the number and size of stored results by place."""
