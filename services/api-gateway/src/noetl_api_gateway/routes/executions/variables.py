"""`/api/vars/*`: variables of executions."""

from noetl_contract.http.executions.variables import (
    VarDeletedAnswer,
    VarEntry,
    VarsDeletedAnswer,
    VarsRequest,
    VarsSetAnswer,
)
from noetl_contract.json import JsonObject
from noetl_contract.rpc import projector

from noetl_api_gateway.routes.forwarding import Forward, forwarding

_NOT_FOUND = "Variable not found: user_id for execution 383611777386247168"
_BAD_ID = "Invalid URL: Cannot parse `abc` to a `i64`"
_BAD_KEY = "Invalid URL: Cannot parse value at index 0 with value `abc` to a `i64`"


def _listed(wanted: JsonObject) -> JsonObject:
    """Send the variables alone: the other fields of the body are theirs by now."""
    variables = [dict(variable) for variable in wanted["variables"]]
    return {"execution_id": wanted["execution_id"], "variables": variables}


ROUTES = forwarding(
    Forward(
        method="GET",
        path="/api/vars/{execution_id:str}",
        name="list_vars",
        operation=projector.VARS_LIST,
        answer=list[VarEntry],
        summary="List the variables of an execution",
        description="List variables by name; an execution that has none, or is unknown, has an"
        " empty list.",
        tags=["vars"],
        shard_by="execution_id",
        errors={400: _BAD_ID},
    ),
    Forward(
        method="GET",
        path="/api/vars/{execution_id:str}/{var_name:str}",
        name="get_var",
        operation=projector.VARS_GET,
        answer=VarEntry,
        summary="Read a variable, which counts as an access",
        description="Read one variable as it is after counting.",
        tags=["vars"],
        shard_by="execution_id",
        errors={400: _BAD_KEY, 404: _NOT_FOUND},
    ),
    Forward(
        method="POST",
        path="/api/vars/{execution_id:str}",
        name="set_vars",
        operation=projector.VARS_SET,
        answer=VarsSetAnswer,
        summary="Write variables",
        description="Write variables: a list of them, or a map of names to values as workers"
        " send it.",
        tags=["vars"],
        shard_by="execution_id",
        errors={400: _BAD_ID, 422: "Invalid var_type: odd"},
        body=VarsRequest,
        prepare=_listed,
    ),
    Forward(
        method="DELETE",
        path="/api/vars/{execution_id:str}/{var_name:str}",
        name="delete_var",
        operation=projector.VARS_DELETE,
        answer=VarDeletedAnswer,
        summary="Remove a variable",
        description="Remove one variable.",
        tags=["vars"],
        shard_by="execution_id",
        errors={400: _BAD_KEY, 404: _NOT_FOUND},
    ),
    Forward(
        method="DELETE",
        path="/api/vars/{execution_id:str}",
        name="delete_vars",
        operation=projector.VARS_CLEAR,
        answer=VarsDeletedAnswer,
        summary="Remove all variables of an execution",
        description="Remove all variables.",
        tags=["vars"],
        shard_by="execution_id",
        errors={400: _BAD_ID},
    ),
)
