"""The python tool: run a script in a process of its own."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any, Final

import orjson
from noetl_contract.json import JsonObject
from noetl_contract.libraries.requirements import (
    BadRequirements,
    Requirements,
    package_of,
    requirements_of,
)

from noetl_worker import jsonb
from noetl_worker.hosting.fork_server import StartFailed
from noetl_worker.interpreters.pool import InterpreterPool
from noetl_worker.interpreters.run import InterpreterLost, Run
from noetl_worker.libraries.errors import LibrariesFailed
from noetl_worker.libraries.pools import LibraryPools
from noetl_worker.tools.errors import NeverBegan
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
_LONGEST_ADVICE: Final = 200


class Python:
    """The python tool."""

    def __init__(
        self,
        interpreters: InterpreterPool,
        source: ScriptSource,
        libraries: LibraryPools | None = None,
    ) -> None:
        self._interpreters = interpreters
        self._libraries = libraries
        self._source = source

    async def run(self, config: JsonObject, context: ToolContext) -> ToolResult:
        """Run a script and wait for its end."""
        started = perf_counter()
        config = context.render(config)
        fields = Fields(config, kind="python")
        executable = fields.optional_text("python")
        wanted = _requirements(config, fields, executable)
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
        if config.get("libs"):
            job["libs"] = config["libs"]
        # Large, and few scripts look at them: only for those whose text has a way to them.
        code = source.get("code")
        if code is None or _REACHES_VARIABLES.search(code) is not None:
            job["variables"] = context.variables
        try:
            async with self._pool_for(wanted, context) as pool:
                run = await pool.run(
                    _encoded(job),
                    timeout=seconds,
                    executable=executable,
                    execution=context.execution_id,
                    listener=context.listener,
                )
        except StartFailed as error:
            # An interpreter or libraries of the author's are no better elsewhere.
            may_move = context.may_move and error.may_pass and not (wanted or executable)
            raised = NeverBegan if may_move else ToolError
            raise raised("Process error", f"Failed to spawn Python process: {error}") from error
        except InterpreterLost as error:
            run = Run(exit_code=-1, stderr=str(error))
        if run.cwd_error is not None:
            raise ToolError("Process error", f"Failed to spawn Python process: {run.cwd_error}")
        if run.file_error is not None:
            raise ToolError(
                "I/O error",
                f"python script file `{source['file']}` could not be read: {run.file_error}",
            )
        if (wrong := _wrong_result(run)) is not None:
            raise ToolError("Result error", wrong)
        result = _result(run, seconds=seconds, duration_ms=int((perf_counter() - started) * 1000))
        if code is not None and "ModuleNotFoundError" in run.stderr:
            return replace(result, error=_with_advice(result.error, code, wanted))
        return result

    @asynccontextmanager
    async def _pool_for(
        self, wanted: Requirements | None, context: ToolContext
    ) -> AsyncIterator[InterpreterPool]:
        """Give the interpreters that have the packages a script asks for.

        Raises:
            ToolError: it can't be had.
        """
        if wanted is None:
            yield self._interpreters
            return
        if self._libraries is None:
            raise ToolError("Libraries error", f"no libraries here: {wanted}")
        try:
            lock = await self._libraries.lock_of(
                wanted, execution_id=context.execution_id, server_url=context.server_url
            )
            if lock is None:
                # A version from before there were locks runs as it did.
                yield self._interpreters
                return
            async with self._libraries.interpreters(lock) as pool:
                yield pool
        except LibrariesFailed as error:
            kind = "connection" if error.is_unreachable else "unknown"
            failure = Failure(kind=kind, retryable=error.is_unreachable)
            raise ToolError("Libraries error", f"{wanted}: {error}", failure=failure) from error


def _requirements(
    config: JsonObject, fields: Fields, executable: str | None
) -> Requirements | None:
    """Return the requirements of a script.

    Raises:
        ToolError: it can't be read, or is for an interpreter that is not ours.
    """
    try:
        wanted = requirements_of(config)
    except BadRequirements as error:
        raise fields.refuse(str(error)) from error
    if wanted is not None and executable is not None:
        raise fields.refuse("`python` names another interpreter, which has no libraries of ours")
    return wanted


def _wrong_result(run: Run) -> str | None:
    """Return the problem of a script's result, if it has one."""
    if run.too_large:
        return "the script was ended: its result is too large (NOETL_WORKER_PYTHON_RESULT_BYTES)"
    if run.unreadable:
        return "the script was ended: its result is nested too deeply or no JSON"
    return run.refused


def _result(run: Run, *, seconds: int | None, duration_ms: int) -> ToolResult:
    if run.timed_out and seconds is not None:
        return over_time(seconds, duration_ms=duration_ms, stdout=run.stdout, stderr=run.stderr)
    exit_code = max(run.exit_code, -1)
    failed = exit_code != 0
    error = f"Python script exited with code {exit_code}" if failed else None
    if run.excess is not None:
        error = f"Python script was killed: {run.excess}"
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


def _with_advice(error: str | None, code: str, wanted: Requirements | None) -> str | None:
    """Return an error that names the packages of a fetched script's header, which have no lock."""
    try:
        asked = requirements_of({"code": code})
    except BadRequirements:
        return error
    locked = {package_of(name) for name in wanted.packages} if wanted else set()
    missing = [name for name in asked.packages if package_of(name) not in locked] if asked else []
    if error is None or not missing:
        return error
    named = ", ".join(missing)[:_LONGEST_ADVICE]
    return f"{error}: its header asks for {named}; of a fetched script only `requirements` count"


def _data(run: Run) -> Any:
    if run.has_value and run.value is not None:
        return run.value
    if not run.has_value:
        # The script was cut short: its output counts if it is JSON.
        printed = jsonb.parsed(run.stdout, MISSING)
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
    return Python(parts.interpreters, ScriptSource.of(parts), parts.libraries)
