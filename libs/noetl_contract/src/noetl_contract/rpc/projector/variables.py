"""Operations of the projector about variables."""

from pydantic import BaseModel

from noetl_contract.http.executions.variables import (
    NewVar,
    VarDeletedAnswer,
    VarEntry,
    VarsDeletedAnswer,
    VarsSetAnswer,
)
from noetl_contract.rpc.models import MODEL
from noetl_contract.rpc.operation import Operation
from noetl_contract.rpc.projector.executions import ExecutionName

__all__ = [
    "VARS_CLEAR",
    "VARS_DELETE",
    "VARS_GET",
    "VARS_LIST",
    "VARS_SET",
    "VarName",
    "VarsSet",
]


class VarName(BaseModel):
    """The name of a variable of an execution."""

    model_config = MODEL

    execution_id: int
    var_name: str


class VarsSet(BaseModel):
    """Variables to write; the last of a name counts."""

    model_config = MODEL

    execution_id: int
    variables: list[NewVar]


VARS_LIST = Operation(
    service="projector",
    name="vars.list",
    request=ExecutionName,
    answer=list[VarEntry],
    scope="shard",
    summary="List variables by name without counting an access.",
)
VARS_GET = Operation(
    service="projector",
    name="vars.get",
    request=VarName,
    answer=VarEntry,
    scope="shard",
    summary="Return a variable and count the access.",
)
VARS_SET = Operation(
    service="projector",
    name="vars.set",
    request=VarsSet,
    answer=VarsSetAnswer,
    scope="shard",
    summary="Write variables; those before one of an unknown type are kept.",
)
VARS_DELETE = Operation(
    service="projector",
    name="vars.delete",
    request=VarName,
    answer=VarDeletedAnswer,
    scope="shard",
    summary="Delete a variable.",
)
VARS_CLEAR = Operation(
    service="projector",
    name="vars.clear",
    request=ExecutionName,
    answer=VarsDeletedAnswer,
    scope="shard",
    summary="Delete all variables of an execution.",
)
