"""The mcp tool: call a Model Context Protocol server over HTTP."""

import asyncio
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

import httpx
import orjson
from noetl_contract.json import Json, JsonObject

from noetl_worker import jsonb
from noetl_worker.tools.fields import Fields
from noetl_worker.tools.mcp.session import McpFailure, McpSession
from noetl_worker.tools.tool import Tool, ToolContext, ToolError, ToolParts, ToolResult

_PROTOCOL = "2025-03-26"
_SHORTEST_SECONDS = 0.1
_ENDPOINTS = ("endpoint", "url", "server_url", "base_url")
_TRANSPORT_PATHS = ("/mcp", "/sse", "/message")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One call, read from a configuration."""

    server: str
    endpoint: str
    method: str
    tool: str | None
    arguments: Json
    params: Json
    request_id: int
    seconds: float
    hello: JsonObject


class Mcp:
    """The mcp tool. Errors of the server are data, as in the original worker."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        seconds: float,
        most_seconds: float,
        most_bytes: int,
        environment: Mapping[str, str],
    ) -> None:
        self._client = client
        self._seconds = seconds
        self._most_seconds = most_seconds
        self._most_bytes = most_bytes
        self._environment = environment

    async def run(self, config: JsonObject, context: ToolContext) -> ToolResult:
        """Begin a session, call one method, end the session."""
        started = perf_counter()
        wanted = self._read(context.render(config))
        try:
            async with asyncio.timeout(wanted.seconds):
                data = await self._call(wanted)
        except TimeoutError:
            data = _failed(wanted, f"MCP HTTP error: no answer in {wanted.seconds:g} seconds")
        except McpFailure as error:
            data = _failed(wanted, str(error))
        return ToolResult(data=data, duration_ms=int((perf_counter() - started) * 1000))

    async def _call(self, wanted: _Wanted) -> JsonObject:
        session = McpSession(
            self._client,
            wanted.endpoint,
            next_id=wanted.request_id,
            most=self._most_bytes,
            seconds=wanted.seconds,
        )
        if wanted.method == "health":
            text = await session.read(_health_url(wanted.endpoint))
            return _answer(wanted, result=jsonb.parsed(text, text), text=text, initialize=None)
        params = wanted.params
        if wanted.method == "tools/call":
            if not wanted.tool:
                raise McpFailure("MCP config error: mcp tool name is required for tools/call")
            params = {"name": wanted.tool, "arguments": _arguments(wanted.arguments)}
        try:
            hello = await session.begin(wanted.hello)
            if wanted.method == "initialize":
                result = hello
            else:
                result = await session.request(wanted.method, params)
        finally:
            await session.end()
        return _answer(wanted, result=result, text=_text_of(result), initialize=hello)

    def _read(self, config: JsonObject) -> _Wanted:
        fields = Fields(config, kind="mcp")

        def first(*names: str, default: str) -> str:
            return next((text for name in names if (text := fields.optional_text(name))), default)

        server = first("server", "name", default="kubernetes")
        request_id = fields.optional_unsigned("request_id")
        seconds = fields.optional_number("timeout")
        return _Wanted(
            server=server,
            endpoint=self._endpoint(server, first(*_ENDPOINTS, default="")),
            method=first("method", "action", default="tools/call"),
            tool=first("tool", "tool_name", default="") or None,
            arguments=config.get("arguments", config.get("args")),
            params=config.get("params"),
            request_id=1 if request_id is None else request_id,
            seconds=min(
                max(self._seconds if seconds is None else seconds, _SHORTEST_SECONDS),
                self._most_seconds,
            ),
            hello={
                "protocolVersion": first("protocol_version", default=_PROTOCOL),
                "capabilities": fields.mapping("capabilities"),
                "clientInfo": {
                    "name": first("client_name", default="noetl-worker"),
                    "version": first("client_version", default="0"),
                },
            },
        )

    def _endpoint(self, server: str, written: str) -> str:
        variable = f"NOETL_MCP_{re.sub(r'[^0-9A-Za-z]', '_', server).upper()}_ENDPOINT"
        found = written or self._environment.get(variable) or self._environment.get("NOETL_MCP_URL")
        if not found:
            raise ToolError(
                "Configuration error",
                f"mcp endpoint is required for server '{server}'. Set endpoint in the tool, or "
                f"{variable} or NOETL_MCP_URL in the worker's environment",
            )
        return found.rstrip("/")


def _arguments(value: Json) -> Json:
    """Return the object of arguments; it may be written as text."""
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            message = f"MCP config error: arguments are no JSON object: {error}"
            raise McpFailure(message) from error
    if not isinstance(value, dict):
        raise McpFailure("MCP config error: arguments are no JSON object")
    return value


def _health_url(endpoint: str) -> str:
    for path in _TRANSPORT_PATHS:
        if endpoint.endswith(path):
            return f"{endpoint.removesuffix(path)}/healthz"
    return f"{endpoint}/healthz"


def _text_of(result: Json) -> str:
    """Return the texts of an answer's contents, or all of it as JSON."""
    contents = result.get("content") if isinstance(result, dict) else None
    if isinstance(contents, list):
        texts = [
            one["text"]
            for one in contents
            if isinstance(one, dict) and isinstance(one.get("text"), str)
        ]
        if texts:
            return "\n".join(texts)
    return orjson.dumps(result).decode()


def _answer(wanted: _Wanted, *, result: Json, text: str, initialize: Json) -> JsonObject:
    return {
        "status": "ok",
        "server": wanted.server,
        "endpoint": wanted.endpoint,
        "method": wanted.method,
        "tool": wanted.tool,
        "arguments": wanted.arguments,
        "text": text,
        "result": result,
        "initialize": initialize,
    }


def _failed(wanted: _Wanted, error: str) -> JsonObject:
    return {
        "status": "error",
        "server": wanted.server,
        "endpoint": wanted.endpoint,
        "method": wanted.method,
        "error": error,
        "text": error,
    }


def create(parts: ToolParts) -> Tool:
    """Make the tool."""
    settings = parts.settings
    return Mcp(
        parts.http,
        seconds=settings.mcp_request_timeout_seconds,
        most_seconds=settings.worker_command_timeout_seconds,
        most_bytes=settings.worker_http_body_bytes,
        # The names hold those of servers, so they are no settings.
        environment={
            name: value for name, value in os.environ.items() if name.startswith("NOETL_MCP_")
        },
    )
