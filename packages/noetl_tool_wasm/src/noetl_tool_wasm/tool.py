"""The wasm tool: run a plug-in of the catalog."""

import asyncio
from collections.abc import Iterator
from time import perf_counter
from typing import TYPE_CHECKING

import orjson
from noetl_contract.json import Json, JsonObject
from noetl_contract.plugins.interface import SERVER_HOST
from noetl_contract.plugins.names import PluginPin
from noetl_worker import jsonb, metrics
from noetl_worker.tools.fields import Fields
from noetl_worker.tools.http.hosts import addresses_of
from noetl_worker.tools.tool import (
    Failure,
    Tool,
    ToolContext,
    ToolError,
    ToolParts,
    ToolResult,
    over_time,
)
from pydantic import ValidationError

from noetl_tool_wasm.limits import RunLimits, run_limits
from noetl_tool_wasm.loan import Loan
from noetl_tool_wasm.plugins import Plugin, PluginMissing, Plugins
from noetl_tool_wasm.services import Services

if TYPE_CHECKING:
    from noetl_tool_wasm.host import Host
    from noetl_tool_wasm.slots import Slots

_PREFIX = "Plug-in error"


class Wasm:
    """The wasm tool; its runtime is loaded with the first plug-in."""

    def __init__(self, parts: ToolParts) -> None:
        settings = parts.settings
        self._settings = settings
        self._http, self._edge = parts.http, parts.edge
        self._plugins = Plugins(
            parts.edge, kept=settings.wasm_modules_kept, most=settings.wasm_module_bytes_max
        )
        self._slots: Slots | None = None
        self._loading = asyncio.Lock()

    async def run(self, config: JsonObject, context: ToolContext) -> ToolResult:
        """Run a plug-in in the version that its execution keeps."""
        started = perf_counter()
        fields = Fields(context.render(config), kind="wasm")
        pin = _pin_of(fields.text("plugin"), context)
        args = fields.mapping("args", alias="input")
        slots = await self._loaded()
        plugin = await self._find(pin, context)
        seconds = fields.optional_unsigned("timeout_seconds")
        limits = run_limits(
            self._settings,
            plugin.body.limits,
            fuel=fields.optional_unsigned("fuel"),
            memory_bytes=fields.optional_unsigned("memory_bytes"),
            seconds=context.timeout if seconds is None else seconds,
        )
        request = _request(args, context, limits, plugin)
        return await self._run(
            slots, plugin, request, limits=limits, context=context, started=started
        )

    async def close(self) -> None:
        """Start no more runs."""
        if self._slots is not None:
            await self._slots.close()

    async def _run(
        self,
        slots: "Slots",
        plugin: Plugin,
        request: bytes,
        *,
        limits: RunLimits,
        context: ToolContext,
        started: float,
    ) -> ToolResult:
        from noetl_tool_wasm.host import Host  # noqa: PLC0415 -- the runtime is large
        from noetl_tool_wasm.slots import Ended, OverTime  # noqa: PLC0415

        services = Services(
            self._http,
            self._edge,
            path=plugin.body.path,
            allowed_hosts=self._hosts(plugin),
            execution_id=context.execution_id,
            server_url=context.server_url,
            most=min(limits.output_bytes, self._settings.worker_http_body_bytes),
            loan=Loan.of(context),
        )
        loop = asyncio.get_running_loop()
        try:
            host, result = await slots.run(
                plugin,
                request,
                limits=limits,
                host_for=lambda engine: Host(engine, loop, services, limits, context.listener),
            )
        except OverTime:
            metrics.PLUGIN_RUNS.labels("timeout").inc()
            return over_time(limits.seconds, duration_ms=_since(started))
        except Ended as error:
            metrics.PLUGIN_RUNS.labels("ended").inc()
            raise ToolError(_PREFIX, f"{plugin.named} was ended: {error}") from error
        return _result_of(plugin, host, result, duration_ms=_since(started))

    def _hosts(self, plugin: Plugin) -> Iterator[str]:
        for host in plugin.body.allowed_hosts:
            if host.strip() == SERVER_HOST:
                yield from addresses_of(self._settings.server_url, self._settings.public_server_url)
            else:
                yield host

    async def _loaded(self) -> "Slots":
        """Return the slots that run modules."""
        async with self._loading:
            if self._slots is None:
                self._slots = await asyncio.to_thread(self._load)
            return self._slots

    def _load(self) -> "Slots":
        from noetl_tool_wasm.compiler import Compiler  # noqa: PLC0415 -- the runtime is large
        from noetl_tool_wasm.slots import Slots  # noqa: PLC0415 -- the runtime is large

        settings = self._settings
        kept = settings.wasm_modules_kept
        compiler = Compiler(
            seconds=settings.wasm_compile_seconds,
            memory_bytes=settings.wasm_compile_memory_bytes,
            kept=kept,
        )
        return Slots(compiler, most=settings.wasm_slots, kept=kept)

    async def _find(self, pin: PluginPin, context: ToolContext) -> Plugin:
        try:
            return await self._plugins.find(
                pin, execution_id=context.execution_id, server_url=context.server_url
            )
        except PluginMissing as error:
            kind = "connection" if error.is_unreachable else "unknown"
            failure = Failure(kind=kind, retryable=error.is_unreachable)
            raise ToolError(_PREFIX, str(error), failure=failure) from error


def _pin_of(name: str, context: ToolContext) -> PluginPin:
    """Return the version that the execution keeps.

    Raises:
        ToolError: it keeps none.
    """
    try:
        return PluginPin.model_validate(context.plugins[name])
    except (KeyError, ValidationError) as error:
        text = f"plug-in '{name}' was not registered when the execution began"
        raise ToolError(_PREFIX, text) from error


def _request(args: Json, context: ToolContext, limits: RunLimits, plugin: Plugin) -> bytes:
    body = {"input": args, "execution_id": str(context.execution_id), "step": context.step}
    try:
        request = orjson.dumps(body)
    except TypeError as error:
        raise ToolError(_PREFIX, f"{plugin.named}: its input is no JSON: {error}") from error
    if len(request) > limits.output_bytes:
        text = f"{plugin.named}: its input has {len(request)} bytes; the limit is"
        raise ToolError(_PREFIX, f"{text} {limits.output_bytes}")
    return request


def _result_of(plugin: Plugin, host: "Host", given: bytes, *, duration_ms: int) -> ToolResult:
    """Return the result that a module gave.

    Raises:
        ToolError: it gave none.
        NotJson: a number in it is not finite.
    """
    try:
        answer = orjson.loads(given)
    except orjson.JSONDecodeError as error:
        metrics.PLUGIN_RUNS.labels("ended").inc()
        jsonb.refuse_not_finite(given)
        raise ToolError(_PREFIX, f"{plugin.named}: its result is no JSON: {error}") from error
    if not isinstance(answer, dict) or not ("data" in answer or "error" in answer):
        metrics.PLUGIN_RUNS.labels("ended").inc()
        text = f"{plugin.named}: its result has neither `data` nor `error`"
        raise ToolError(_PREFIX, text)
    told = answer.get("error")
    metrics.PLUGIN_RUNS.labels("success" if told is None else "error").inc()
    result = ToolResult(
        data=answer.get("data"),
        stdout=_text(host.lines),
        stderr=_text(host.errors),
        duration_ms=duration_ms,
    )
    if told is None:
        return result
    result.status = "error"
    result.error = told if isinstance(told, str) else orjson.dumps(told).decode()
    kind = answer.get("kind")
    result.failure = Failure(
        kind=kind if isinstance(kind, str) else "unknown",
        retryable=answer.get("retryable") is True,
    )
    return result


def _text(lines: list[bytes]) -> str | None:
    return b"".join(lines).decode("utf-8", "replace") or None


def _since(started: float) -> int:
    return int((perf_counter() - started) * 1000)


def create(parts: ToolParts) -> Tool:
    """Make the tool."""
    return Wasm(parts)
