"""The python tool: run a script in a process of its own."""

import json
import re
from time import perf_counter
from typing import Any, Final

import orjson
from noetl_contract.json import JsonObject

from noetl_worker.interpreters.fork_server import StartFailed
from noetl_worker.interpreters.pool import InterpreterPool
from noetl_worker.interpreters.run import InterpreterLost, Run
from noetl_worker.tools.fields import Fields
from noetl_worker.tools.scripts.source import ScriptSource
from noetl_worker.tools.tool import (
    MISSING,
    Failure,
    Tool,
    ToolContext,
    ToolError,
    ToolParts,
    ToolResult,
    over_time,
)

# Substrings: `context` also finds `contextlib`, and one too many costs little.
_REACHES_VARIABLES: Final = re.compile(
    r"variables|context|globals|locals|vars\(|eval|exec|compile|__main__|inspect|modules|frame"
)


class Python:
    """The python tool."""

    def __init__(self, interpreters: InterpreterPool, source: ScriptSource) -> None:
        self._interpreters = interpreters
        self._source = source

    async def run(self, config: JsonObject, context: ToolContext) -> ToolResult:
        """Run a script and wait for its end."""
        started = perf_counter()
        config = context.render(config)
        fields = Fields(config, kind="python")
        args = fields.mapping("args", alias="input")
        seconds = fields.optional_unsigned("timeout_seconds")
        if seconds is None:
            seconds = context.timeout
        source = await self._source.read(config, fields, context)
        job: JsonObject = {
            **source,
            "name": f"<{context.step}>",
            "args": args,
            "execution_id": context.execution_id,
            "step": context.step,
            "server_url": context.server_url,
            "env": fields.texts("env"),
            "cwd": fields.optional_text("cwd"),
        }
        # Large, and few scripts look at them: only for those whose text has a way to them.
        code = source.get("code")
        if code is None or _REACHES_VARIABLES.search(code) is not None:
            job["variables"] = context.variables
        try:
            run = await self._interpreters.run(
                _encoded(job),
                timeout=seconds,
                executable=fields.optional_text("python"),
                execution=context.execution_id,
                listener=context.listener,
            )
        except StartFailed as error:
            raise ToolError("Process error", f"Failed to spawn Python process: {error}") from error
        except InterpreterLost as error:
            run = Run(exit_code=-1, stderr=str(error))
        if run.cwd_error is not None:
            raise ToolError("Process error", f"Failed to spawn Python process: {run.cwd_error}")
        if run.file_error is not None:
            raise ToolError(
                "I/O error",
                f"python script file `{source['file']}` could not be read: {run.file_error}",
            )
        return _result(run, seconds=seconds, duration_ms=int((perf_counter() - started) * 1000))


def _result(run: Run, *, seconds: int | None, duration_ms: int) -> ToolResult:
    if run.timed_out and seconds is not None:
        return over_time(seconds, duration_ms=duration_ms, stdout=run.stdout, stderr=run.stderr)
    exit_code = -1 if run.exit_code < 0 or run.unreadable else run.exit_code
    failed = exit_code != 0
    error = f"Python script exited with code {exit_code}" if failed else None
    if run.too_large:
        error = "Python script was ended: its result is too large"
    if run.excess is not None:
        error = f"Python script was killed: {run.excess}"
    if run.unreadable:
        error = "Python script was ended: its result is nested too deeply or no JSON"
    return ToolResult(
        status="error" if failed else "success",
        data=_data(run),
        error=error,
        stdout=run.stdout,
        stderr=run.stderr,
        exit_code=exit_code,
        duration_ms=duration_ms,
        failure=Failure() if failed else None,
    )


def _data(run: Run) -> Any:
    if run.has_value and run.value is not None:
        return run.value
    if not run.has_value:
        # The script was cut short: its output counts if it is JSON.
        try:
            printed = orjson.loads(run.stdout)
        except orjson.JSONDecodeError:
            printed = MISSING
        if printed is not MISSING:
            return printed
    return {"stdout": run.stdout, "stderr": run.stderr}


def _encoded(job: JsonObject) -> bytes:
    try:
        return orjson.dumps(job)
    except TypeError:
        # Integers beyond 64 bits, which templates can make.
        return json.dumps(job, default=str).encode()


def create(parts: ToolParts) -> Tool:
    """Make the tool."""
    return Python(parts.interpreters, ScriptSource.of(parts))
