"""Calls of tools: start an execution, wait for it, and return its result."""

import asyncio

import orjson
from noetl_console.api import Api, Refused, segment
from noetl_contract.http.executions.reads import ExecutionDetail, ExecutionStatusAnswer
from noetl_contract.http.executions.start import ExecuteAnswer
from noetl_contract.http.scalars import parse_i64
from noetl_contract.json import JsonObject

from noetl_api_gateway.gateway import Gateway
from noetl_api_gateway.routes.mcp.messages import INVALID_PARAMS, RpcError, outcome
from noetl_api_gateway.routes.mcp.progress import Told, nobody
from noetl_api_gateway.routes.mcp.tools import (
    POLL_TOOL,
    form_of,
    offered,
    unknown_arguments,
)

_OVER = frozenset({"COMPLETED", "FAILED", "CANCELLED"})
_FIRST_PAUSE, _LONGEST_PAUSE, _GROWTH = 0.05, 1.0, 1.3


async def call_tool(
    api: Api, gateway: Gateway, name: str, arguments: JsonObject, on_status: Told = nobody
) -> JsonObject:
    """Call a tool, and return its outcome; a refusal of the API is an outcome for the model.

    Args:
        api: with the caller's login.
        gateway: the open parts.
        name: of the tool.
        arguments: for it.
        on_status: gets the status of the execution, while it is waited for and at its end.

    Raises:
        RpcError: there is no such tool.
    """
    try:
        if name == POLL_TOOL:
            execution_id = _execution_id(arguments)
        else:
            execution_id = await _started(api, gateway, name, arguments)
        status = await _waited(api, gateway, execution_id, on_status)
        return await _outcome(api, execution_id, status)
    except Refused as refused:
        return outcome(refused.text, {"error": refused.text}, is_error=True)


def _execution_id(arguments: JsonObject) -> str:
    given = str(arguments.get("execution_id", ""))
    if parse_i64(given) is None:
        raise RpcError(INVALID_PARAMS, "`execution_id` is the number that a tool has told")
    return given


async def _started(api: Api, gateway: Gateway, name: str, arguments: JsonObject) -> str:
    tool = next((one for one in await offered(api) if one.name == name), None)
    form = None if tool is None else await form_of(api, gateway.tool_forms, tool)
    if tool is None or form is None:
        raise RpcError(INVALID_PARAMS, f"Unknown tool: {name[:200]}")
    strange = unknown_arguments(form, arguments)
    if strange:
        known = ", ".join(field.name for field in form.fields) or "none"
        raise Refused(422, f"Unknown arguments {', '.join(strange)[:200]}; there are: {known}")
    body = {"path": tool.path, "version": tool.version, "workload": arguments}
    return (await api.send(ExecuteAnswer, "execute", body)).execution_id


async def _waited(api: Api, gateway: Gateway, execution_id: str, on_status: Told) -> str:
    """Wait for an end, as long as the settings allow; return the last status."""
    has_place = gateway.waiting_calls < gateway.settings.mcp_waits
    seconds = gateway.settings.mcp_wait_seconds if has_place else 0.0
    gateway.waiting_calls += 1
    try:
        return await _polled(api, gateway, execution_id, seconds, on_status)
    finally:
        gateway.waiting_calls -= 1


async def _polled(
    api: Api, gateway: Gateway, execution_id: str, seconds: float, on_status: Told
) -> str:
    loop = asyncio.get_running_loop()
    end, pause = loop.time() + seconds, _FIRST_PAUSE
    path = f"executions/{segment(execution_id)}/status"
    while True:
        found = await api.read(ExecutionStatusAnswer, path)
        await on_status(found)
        left = end - loop.time()
        if found.status in _OVER or left <= 0 or gateway.closing.is_set():
            return found.status
        try:
            async with asyncio.timeout(min(pause, left)):
                await gateway.closing.wait()
        except TimeoutError:
            pause = min(pause * _GROWTH, _LONGEST_PAUSE)


async def _outcome(api: Api, execution_id: str, status: str) -> JsonObject:
    """Return an execution's result, its failure, or the call that waits on."""
    values: JsonObject = {"execution_id": execution_id, "status": status}
    if status not in _OVER:
        text = (
            f"Execution {execution_id} is {status}. Call {POLL_TOOL} with this execution_id to"
            " wait for its result."
        )
        return outcome(text, values)
    path = f"executions/{segment(execution_id)}"
    detail = await api.read(ExecutionDetail, path, include_events="false", page_size=1)
    if status == "COMPLETED":
        if detail.soft_errors:
            values["soft_errors"] = detail.soft_errors
        text = detail.result if isinstance(detail.result, str) else _json(detail.result)
        return outcome(text, {**values, "result": detail.result})
    cause = None if detail.cause is None else detail.cause.sentence()
    reason = detail.error or cause or "no reason is known"
    text = f"Execution {execution_id} is {status}: {reason}"
    return outcome(text, {**values, "error": reason}, is_error=True)


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
