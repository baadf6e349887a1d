"""The snowflake tool: run SQL in Snowflake."""

import binascii
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace

import orjson
from noetl_contract.json import Json, JsonObject
from noetl_worker.tools.errors import ToolError
from noetl_worker.tools.sql.fields import SqlFields
from noetl_worker.tools.sql.result import RowBuffer
from noetl_worker.tools.sql.sql_tool import SqlTool
from noetl_worker.tools.tool import Tool, ToolContext, ToolParts, ToolResult

from noetl_tool_snowflake.login import login_of
from noetl_tool_snowflake.sessions import Session, Sessions, shared_sessions
from noetl_tool_snowflake.sql_text import bound, has_rows, leaves_open, statements_of
from noetl_tool_snowflake.values import Reader, reader, text

_BATCH = ("command_b64", "commands_b64", "command", "commands")
_FAILED = "Some statements failed"
_OPEN = "Execute failed: the script left a transaction open; it was rolled back"


class Snowflake(SqlTool):
    """The snowflake tool."""

    kind = "snowflake"

    def __init__(self, sessions: Sessions, *, most_seconds: float, result_bytes: int) -> None:
        super().__init__(most_seconds=most_seconds)
        self._sessions = sessions
        self._result_bytes = result_bytes

    async def run(self, config: JsonObject, context: ToolContext) -> ToolResult:
        """Run statements; if one of `command` fails, the result has status ``error``."""
        result = await super().run(config, context)
        data = result.value
        if not isinstance(data, dict) or "statement_0" not in data:
            return result
        is_bad = any(isinstance(one, dict) and one["status"] == "error" for one in data.values())
        return replace(result, status="error", error=_FAILED) if is_bad else result

    async def fetch(self, fields: SqlFields, context: ToolContext) -> JsonObject:
        """Run the query or commands of the configuration."""
        is_script = fields.config.get("query") is not None
        if is_script and any(fields.config.get(name) is not None for name in _BATCH):
            raise fields.refuse("`query` stands beside `command` or `commands`")
        login = login_of(fields, servers=self._sessions.servers)
        asked = fields.optional_unsigned("timeout_seconds")
        seconds = min(asked or self._most_seconds, self._most_seconds)
        if not is_script:
            batch = _batch(fields)
            async with self._sessions.session(login, context, seconds=seconds) as session:
                return await self._run_batch(session, batch)
        statements, values = _script(fields)
        as_objects = fields.flag("as_objects", default=True)
        if not statements:
            return {"affected_rows": 0}
        async with self._sessions.session(login, context, seconds=seconds) as session:
            data = await self._run_script(session, statements, values, as_objects=as_objects)
        if leaves_open(statements):
            raise ToolError("Database error", _OPEN)
        return data

    async def _run_script(
        self, session: Session, statements: list[str], values: list[Json], *, as_objects: bool
    ) -> JsonObject:
        """Run statements one after the other; the last one decides the result."""
        *leading, last = statements
        for number, statement in enumerate(leading, start=1):
            what = f"Statement {number} of {len(statements)} failed"
            await session.run(statement, what=what)
        if not has_rows(last):
            await session.run(last, values, what="Execute failed")
            is_change = any("number of" in one.name for one in session.columns)
            return {"affected_rows": session.changed if is_change else 0}
        await session.run(last, values, what="Query failed")
        readers = [reader(one.code) for one in session.columns]
        rows = await self._rows(session, readers, as_objects=as_objects, most=self._result_bytes)
        return rows.data()

    async def _run_batch(self, session: Session, statements: list[str]) -> JsonObject:
        """Run statements, also after one has failed; each has a result of texts."""
        data: JsonObject = {}
        left = self._result_bytes
        for number, statement in enumerate(statements):
            try:
                await session.run(statement, what=f"Statement {number + 1} failed")
                readers: list[Reader] = [text for _ in session.columns]
                rows = await self._rows(session, readers, as_objects=True, most=left)
            except ToolError as error:
                data[f"statement_{number}"] = {
                    "status": "error",
                    "row_count": 0,
                    "error": error.message,
                }
                continue
            left -= rows.size
            found = rows.data()
            data[f"statement_{number}"] = {
                "status": "success",
                "row_count": found["row_count"],
                "result": found["rows"],
                "columns": found["columns"],
            }
        return data

    async def _rows(
        self, session: Session, readers: list[Reader], *, as_objects: bool, most: int
    ) -> RowBuffer:
        rows = RowBuffer(
            [one.name for one in session.columns], as_objects=as_objects, most_bytes=most
        )
        while found := await session.fetch(rows.wanted, what="Query failed"):
            rows.add(
                [[read(value) for read, value in zip(readers, row, strict=True)] for row in found]
            )
        return rows


def _script(fields: SqlFields) -> tuple[list[str], list[Json]]:
    """Return the statements of `query`; with `params` it is one."""
    query, params = fields.text("query"), fields.config.get("params") or []
    if not isinstance(params, list | dict):
        raise fields.refuse("`params` is neither a list nor a map")
    if not params:
        return statements_of(query), []
    try:
        statement, values = bound(query.strip().rstrip(";"), params)
    except LookupError as error:
        raise fields.refuse(f"`params` has no value for `{error.args[0]}`") from error
    except ValueError as error:
        raise fields.refuse(f"`params` has {error}") from error
    return [statement], [_value(one) for one in values]


def _value(value: Json) -> Json:
    """Return a value that the driver binds; objects and lists as JSON."""
    return orjson.dumps(value).decode() if isinstance(value, dict | list) else value


def _batch(fields: SqlFields) -> list[str]:
    found = [one for part in _texts(fields) for one in statements_of(part)]
    if not found:
        raise ToolError(
            "Configuration error",
            "No SQL command provided (use command, command_b64, or commands)",
        )
    return found


def _texts(fields: SqlFields) -> Iterator[str]:
    for name in ("command_b64", "commands_b64"):
        coded = fields.optional_text(name)
        if coded:
            try:
                yield b64decode(coded, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                raise fields.refuse(f"`{name}` is no text in base64") from None
            return
    command = fields.optional_text("command")
    if command:
        yield command
    elif fields.config.get("commands") is not None:
        yield from fields.text_list("commands")


def create(parts: ToolParts) -> Tool:
    """Make the tool; once per worker."""
    return Snowflake(
        shared_sessions(parts),
        most_seconds=parts.settings.worker_sql_timeout_seconds,
        result_bytes=parts.settings.worker_sql_result_bytes,
    )
