"""`/api/vars/*`: variables of executions."""

from noetl_contract.access.rights import Right
from noetl_contract.http.executions.variables import VarsRequest
from noetl_contract.rpc.projector import (
    VARS_CLEAR,
    VARS_DELETE,
    VARS_GET,
    VARS_LIST,
    VARS_SET,
    ExecutionName,
    VarName,
    VarsSet,
)

from noetl_api_gateway.routes.forwarding import Topic

_ALL = "/api/vars/{execution_id:str}"
_ONE = "/api/vars/{execution_id:str}/{var_name:str}"
TOPIC = Topic("vars")
_NOT_FOUND = "Variable not found: user_id for execution 383611777386247168"
_BAD_ID = "Invalid URL: Cannot parse `abc` to a `i64`"
_BAD_KEY = "Invalid URL: Cannot parse value at index 0 with value `abc` to a `i64`"


TOPIC.forward(
    f"GET {_ALL}",
    VARS_LIST,
    lambda sent: ExecutionName(execution_id=sent.id()),
    name="list_vars",
    needs=Right.VARIABLES_READ,
    summary="List the variables of an execution",
    description="List variables by name; an execution that has none, or is unknown, has an"
    " empty list.",
    errors={400: _BAD_ID},
)
TOPIC.forward(
    f"GET {_ONE}",
    VARS_GET,
    lambda sent: VarName(execution_id=sent.id(), var_name=sent.word("var_name")),
    name="get_var",
    needs=Right.VARIABLES_READ,
    summary="Read a variable, which counts as an access",
    errors={400: _BAD_KEY, 404: _NOT_FOUND},
)
TOPIC.forward(
    f"POST {_ALL}",
    VARS_SET,
    lambda sent: VarsSet(execution_id=sent.id(), variables=sent.body.variables),
    body=VarsRequest,
    name="set_vars",
    needs=Right.VARIABLES_WRITE,
    summary="Write variables",
    description="Write variables: a list of them, or a map of names to values as workers send it.",
    errors={400: _BAD_ID, 422: "Invalid var_type: odd"},
)
TOPIC.forward(
    f"DELETE {_ONE}",
    VARS_DELETE,
    lambda sent: VarName(execution_id=sent.id(), var_name=sent.word("var_name")),
    name="delete_var",
    needs=Right.VARIABLES_WRITE,
    summary="Remove a variable",
    errors={400: _BAD_KEY, 404: _NOT_FOUND},
)
TOPIC.forward(
    f"DELETE {_ALL}",
    VARS_CLEAR,
    lambda sent: ExecutionName(execution_id=sent.id()),
    name="delete_vars",
    needs=Right.VARIABLES_WRITE,
    summary="Remove all variables of an execution",
    errors={400: _BAD_ID},
)
