"""Runs a script in a warm interpreter of its own (tools 3)."""

import asyncio
import json
import os
from time import perf_counter
from typing import Any

import httpx
import orjson

from noetl_worker.interpreters.interpreter import InterpreterLost, Run, StartFailed
from noetl_worker.interpreters.pool import InterpreterPool
from noetl_worker.tools.bounded import AnswerTooLarge, fetch
from noetl_worker.tools.fields import Fields
from noetl_worker.tools.tool import (
    MISSING,
    Failure,
    Tool,
    ToolContext,
    ToolError,
    ToolParts,
    ToolResult,
    timed_out,
)

__all__ = ["Python", "create"]

_FETCH_SECONDS = 30.0
_LONGEST_FETCH_ERROR = 300
_LARGEST_SOURCE = 8 << 20


class Python:
    """The python tool."""

    def __init__(self, interpreters: InterpreterPool, *, http: httpx.AsyncClient) -> None:
        self._interpreters = interpreters
        self._http = http

    async def run(self, config: dict[str, Any], context: ToolContext) -> ToolResult:
        """Run a script and wait for its end."""
        started = perf_counter()
        fields = Fields(context.render(config), kind="python")
        args = fields.mapping("args", alias="input")
        seconds = fields.optional_unsigned("timeout_seconds")
        if seconds is None:
            seconds = context.timeout
        source = await self._source(fields)
        job: dict[str, Any] = {
            **source,
            "name": f"<{context.step}>",
            "args": args,
            "execution_id": context.execution_id,
            "step": context.step,
            "server_url": context.server_url,
            "env": fields.texts("env"),
            "cwd": fields.optional_text("cwd"),
        }
        # Large, and few scripts look at them: only for those whose text has the words.
        code = source.get("code")
        if code is None or "variables" in code or "context" in code:
            job["variables"] = context.variables
        try:
            run = await self._interpreters.run(
                _encoded(job), timeout=seconds, executable=fields.optional_text("python")
            )
        except StartFailed as error:
            raise ToolError("Process error", f"Failed to spawn Python process: {error}") from error
        except InterpreterLost:
            run = Run(exit_code=-1)
        if run.cwd_error is not None:
            raise ToolError("Process error", f"Failed to spawn Python process: {run.cwd_error}")
        if run.file_error is not None:
            raise ToolError(
                "I/O error",
                f"python script file `{source['file']}` could not be read: {run.file_error}",
            )
        return _result(run, seconds=seconds, duration_ms=int((perf_counter() - started) * 1000))

    async def _source(self, fields: Fields) -> dict[str, Any]:
        """Return the part of a job that says what to run."""
        code = fields.optional_text("code")
        if code is not None:
            return {"code": code}
        script = fields.mapping("script")
        source = script.get("source")
        if source is not None and not isinstance(source, dict):
            raise fields.refuse("`script.source` is not a map")
        details = Fields(source or {}, kind="python")
        kind = details.optional_text("type") or "inline"
        uri = Fields(script, kind="python").optional_text("uri")
        match kind:
            case "inline":
                inline = details.optional_text("code")
                if inline is None:
                    raise ToolError(
                        "Configuration error", "python script `source.type: inline` has no `code`"
                    )
                return {"code": inline}
            case "file":
                path = os.path.abspath(uri) if uri else ""  # noqa: ASYNC240, PTH100  text alone
                return {"file": path, "largest_source": _LARGEST_SOURCE}
            case "http":
                url = details.optional_text("endpoint") or uri or ""
                return {"code": await self._fetch(url, details)}
            case "gcs":
                raise ToolError(
                    "Configuration error", "python script `source.type: gcs` is not supported yet"
                )
        raise ToolError(
            "Configuration error",
            f"python script `source.type: {kind}` is unknown; "
            "expected one of inline | file | gcs | http",
        )

    async def _fetch(self, url: str, details: Fields) -> str:
        method = details.optional_text("method") or "GET"
        seconds = details.optional_unsigned("timeout") or _FETCH_SECONDS
        address = _without_password(url)
        try:
            request = self._http.build_request(method, url, timeout=float(seconds))
            async with asyncio.timeout(float(seconds)):
                response, body = await fetch(self._http, request, most=_LARGEST_SOURCE)
        except AnswerTooLarge as error:
            raise ToolError("HTTP error", f"http fetch `{address}` returned too much") from error
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise ToolError("HTTP error", f"http fetch `{address}` failed: {reason}") from error
        text = body.decode("utf-8", "replace")
        if not response.is_success:
            raise ToolError(
                "HTTP error",
                f"http fetch `{address}` returned HTTP {response.status_code}: "
                f"{text[:_LONGEST_FETCH_ERROR]}",
            )
        return text


def _without_password(url: str) -> str:
    try:
        return str(httpx.URL(url).copy_with(userinfo=b""))
    except httpx.InvalidURL:
        return "an invalid URL"


def _result(run: Run, *, seconds: int | None, duration_ms: int) -> ToolResult:
    if run.timed_out and seconds is not None:
        return ToolResult(
            status="timeout",
            error=timed_out(seconds),
            duration_ms=duration_ms,
            failure=Failure(kind="timeout", retryable=True),
        )
    exit_code = -1 if run.exit_code < 0 or run.unreadable else run.exit_code
    failed = exit_code != 0
    error = f"Python script exited with code {exit_code}" if failed else None
    if run.too_large:
        error = "Python script was ended: its result is too large"
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
        # The script was cut short: what it printed counts if it is JSON.
        try:
            printed = orjson.loads(run.stdout)
        except orjson.JSONDecodeError:
            printed = MISSING
        if printed is not MISSING:
            return printed
    return {"stdout": run.stdout, "stderr": run.stderr}


def _encoded(job: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(job)
    except TypeError:
        # Integers beyond 64 bits, which templates can make.
        return json.dumps(job, default=str).encode()


def create(parts: ToolParts) -> Tool:
    """Make the tool."""
    return Python(parts.interpreters, http=parts.http)
