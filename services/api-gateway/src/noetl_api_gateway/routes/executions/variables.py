"""`/api/vars/*`: variables of executions (http-a 10)."""

from typing import Any

from litestar import Response, delete, get, post
from litestar.params import FromPath
from noetl_contract.http.vars import (
    VarDeletedAnswer,
    VarEntry,
    VarsDeletedAnswer,
    VarsRequest,
    VarsSetAnswer,
)

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.fields import path_id, path_text
from noetl_api_gateway.http.openapi import documented
from noetl_api_gateway.upstream.services import body_of

type Json = Any
type Object = dict[str, Any]

_USER_DEFINED = "user_defined"
_NOT_FOUND = "Variable not found: user_id for execution 383611777386247168"
_BAD_ID = "Invalid URL: Cannot parse `abc` to a `i64`"
_BAD_KEY = "Invalid URL: Cannot parse value at index 0 with value `abc` to a `i64`"


@get(
    "/api/vars/{execution_id:str}",
    summary="List the variables of an execution",
    tags=["vars"],
    operation_class=documented(None, list[VarEntry], errors={400: _BAD_ID}),
)
async def list_vars(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str]
) -> Response[bytes]:
    """List variables by name; an execution that has none, or is unknown, has an empty list."""
    return await _asked(request, gateway, "list", {"execution_id": path_id(execution_id)})


@get(
    "/api/vars/{execution_id:str}/{var_name:str}",
    summary="Read a variable, which counts as an access",
    tags=["vars"],
    operation_class=documented(None, VarEntry, errors={400: _BAD_KEY, 404: _NOT_FOUND}),
)
async def get_var(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str], var_name: FromPath[str]
) -> Response[bytes]:
    """Read one variable as it is after counting."""
    return await _asked(request, gateway, "get", _key(request, execution_id, var_name))


@post(
    "/api/vars/{execution_id:str}",
    status_code=200,
    summary="Write variables",
    tags=["vars"],
    operation_class=documented(
        VarsRequest, VarsSetAnswer, errors={400: _BAD_ID, 422: "Invalid var_type: odd"}
    ),
)
async def set_vars(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str]
) -> Response[bytes]:
    """Write variables: a list of them, or a map of names to values as workers send it."""
    number = path_id(execution_id)
    variables = (await read_body(request, VarsRequest)).variables
    wanted = {"execution_id": number, "variables": [dict(variable) for variable in variables]}
    return await _asked(request, gateway, "set", wanted)


@delete(
    "/api/vars/{execution_id:str}/{var_name:str}",
    status_code=200,
    summary="Remove a variable",
    tags=["vars"],
    operation_class=documented(None, VarDeletedAnswer, errors={400: _BAD_KEY, 404: _NOT_FOUND}),
)
async def delete_var(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str], var_name: FromPath[str]
) -> Response[bytes]:
    """Remove one variable."""
    return await _asked(request, gateway, "delete", _key(request, execution_id, var_name))


@delete(
    "/api/vars/{execution_id:str}",
    status_code=200,
    summary="Remove all variables of an execution",
    tags=["vars"],
    operation_class=documented(None, VarsDeletedAnswer, errors={400: _BAD_ID}),
)
async def delete_vars(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str]
) -> Response[bytes]:
    """Remove all variables."""
    return await _asked(request, gateway, "clear", {"execution_id": path_id(execution_id)})


async def _asked(
    request: AnyRequest, gateway: Gateway, operation: str, wanted: Object
) -> Response[bytes]:
    reply = await gateway.services.projector(
        f"vars.{operation}", wanted, execution_id=wanted["execution_id"]
    )
    return json_answer(request, body_of(reply))


def _key(request: AnyRequest, execution_id: str, var_name: str) -> Object:
    return {
        "execution_id": path_id(execution_id, index=0),
        "var_name": path_text(request, var_name, name="var_name"),
    }
