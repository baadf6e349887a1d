"""`POST /mcp`: the protocol's streamable HTTP without sessions.

Each answer is one JSON body, but that to a call whose client wants to hear of progress: a stream.
Nothing is kept between two requests, so any edge answers any of them. There is nothing that the
server would say by itself: no event stream is offered, and `GET` is not allowed.
"""

from collections.abc import Awaitable, Callable
from importlib.metadata import version

import orjson
from litestar import Response, post
from litestar.types import ASGIApp
from noetl_console.api import Api, Refused
from noetl_contract.access.rights import Right
from noetl_contract.json import JsonObject
from pydantic import ValidationError

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import plain_answer
from noetl_api_gateway.http.bodies import AnyRequest, read_bytes
from noetl_api_gateway.routes.mcp.calls import call_tool
from noetl_api_gateway.routes.mcp.messages import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    REFUSED,
    UNKNOWN_METHOD,
    Incoming,
    RpcError,
    answer,
    refusal,
)
from noetl_api_gateway.routes.mcp.progress import ProgressStream, Told, nobody, token_of
from noetl_api_gateway.routes.mcp.tools import page_of_tools
from noetl_api_gateway.routes.own_calls import APPLICATION_STATE, transport

VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26")
"""Supported versions of the protocol, the newest first."""
_CALL = "tools/call"
_HOW_TO = (
    "Each tool runs a playbook of NoETL. A call that takes long is answered with an execution_id;"
    " call noetl_execution with it for the result."
)


@post(
    "/mcp",
    opt={"needs": Right.CATALOG_READ},
    status_code=200,
    include_in_schema=False,
    summary="Playbooks as tools of the Model Context Protocol",
)
async def mcp(request: AnyRequest, gateway: OpenGateway) -> ASGIApp:
    """Answer one message, with the rights of its caller."""
    answered = await _answered(request, gateway)
    if isinstance(answered, Response):
        return answered.to_asgi_response(None, request)
    return answered


async def _answered(request: AnyRequest, gateway: Gateway) -> Response[bytes] | ProgressStream:
    try:
        message = await _message(request)
    except RpcError as error:
        return plain_answer(refusal(None, error), 400)
    if message.method is None or message.id is None:
        return Response(b"", status_code=202)
    api = Api(transport(request.app.state[APPLICATION_STATE], request.scope, ""))
    try:
        token = token_of(message.params) if message.method == _CALL else None
        if token is not None and "text/event-stream" in request.headers.get("accept", ""):
            return ProgressStream(
                message.id,
                token,
                lambda on_status: _call_tool(api, gateway, message.params, on_status),
                heartbeat_seconds=gateway.settings.stream_heartbeat_seconds,
            )
        result = answer(message.id, await _method(message.method)(api, gateway, message.params))
    except RpcError as error:
        result = refusal(message.id, error)
    except Refused as refused:
        result = refusal(message.id, RpcError(REFUSED, refused.text))
    return plain_answer(result)


async def _message(request: AnyRequest) -> Incoming:
    spoken = request.headers.get("mcp-protocol-version")
    if spoken is not None and spoken not in VERSIONS:
        raise RpcError(INVALID_REQUEST, f"Protocol versions: {', '.join(VERSIONS)}")
    body = await read_bytes(request)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RpcError(PARSE_ERROR, f"The body is no JSON: {error}") from error
    if isinstance(value, list):
        raise RpcError(INVALID_REQUEST, "Batches of messages are not taken")
    try:
        return Incoming.model_validate(value)
    except ValidationError as error:
        raise RpcError(INVALID_REQUEST, "The body is no message of JSON-RPC 2.0") from error


async def _initialize(_api: Api, _gateway: Gateway, params: JsonObject) -> JsonObject:
    wanted = params.get("protocolVersion")
    return {
        "protocolVersion": wanted if wanted in VERSIONS else VERSIONS[0],
        "capabilities": {"tools": {"listChanged": False}},
        "serverInfo": {"name": "noetl", "version": version("noetl-api-gateway")},
        "instructions": _HOW_TO,
    }


async def _ping(_api: Api, _gateway: Gateway, _params: JsonObject) -> JsonObject:
    return {}


async def _list_tools(api: Api, gateway: Gateway, params: JsonObject) -> JsonObject:
    cursor = params.get("cursor")
    if cursor is not None and not (isinstance(cursor, str) and cursor.isdecimal()):
        raise RpcError(INVALID_PARAMS, "The cursor is none of ours")
    tools, after = await page_of_tools(api, gateway.tool_forms, int(cursor or 0))
    return {"tools": tools, **({} if after is None else {"nextCursor": str(after)})}


async def _call_tool(
    api: Api, gateway: Gateway, params: JsonObject, on_status: Told = nobody
) -> JsonObject:
    name, arguments = params.get("name"), params.get("arguments") or {}
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise RpcError(INVALID_PARAMS, "A call has a `name` and an object of `arguments`")
    return await call_tool(api, gateway, name, arguments, on_status)


type _Method = Callable[[Api, Gateway, JsonObject], Awaitable[JsonObject]]
_METHODS: dict[str, _Method] = {
    "initialize": _initialize,
    "ping": _ping,
    "tools/list": _list_tools,
    _CALL: _call_tool,
}


def _method(name: str) -> _Method:
    found = _METHODS.get(name)
    if found is None:
        raise RpcError(UNKNOWN_METHOD, f"Unknown method: {name[:200]}")
    return found


ROUTES = [mcp]
