"""Operations of the projector about variables."""

from noetl_contract.http.executions.variables import (
    NewVar,
    VarDeletedAnswer,
    VarEntry,
    VarsDeletedAnswer,
    VarsSetAnswer,
)
from noetl_contract.model import Model
from noetl_contract.rpc.operation import Operation
from noetl_contract.rpc.projector.executions import ExecutionName


class VarName(Model):
    """The name of a variable of an execution."""

    execution_id: int
    var_name: str


class VarsSet(Model):
    """Variables to write; the last of a name counts."""

    execution_id: int
    variables: list[NewVar]


VARS_LIST = Operation("projector", "vars.list", ExecutionName, list[VarEntry])
"""List variables by name without counting an access."""
VARS_GET = Operation("projector", "vars.get", VarName, VarEntry)
"""Return a variable and count the access."""
VARS_SET = Operation("projector", "vars.set", VarsSet, VarsSetAnswer)
"""Write variables; those before one of an unknown type are kept."""
VARS_DELETE = Operation("projector", "vars.delete", VarName, VarDeletedAnswer)
"""Delete a variable."""
VARS_CLEAR = Operation("projector", "vars.clear", ExecutionName, VarsDeletedAnswer)
"""Delete all variables of an execution."""
