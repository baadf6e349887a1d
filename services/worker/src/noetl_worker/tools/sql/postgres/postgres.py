"""The postgres tool: run SQL on PostgreSQL."""

import asyncio
from dataclasses import dataclass
from typing import Any

from noetl_contract.json import JsonObject
from noetl_pg.sql.text import is_row_query, needs_input, split_statements

from noetl_worker.tools.sql.fields import SqlFields
from noetl_worker.tools.sql.postgres.address import address_of
from noetl_worker.tools.sql.postgres.errors import pg_errors
from noetl_worker.tools.sql.postgres.params import Connection, prepare_with_texts
from noetl_worker.tools.sql.postgres.pools import PgLimits, PgPools
from noetl_worker.tools.sql.postgres.values import reader
from noetl_worker.tools.sql.result import RowBuffer, affected
from noetl_worker.tools.sql.sql_tool import SqlTool
from noetl_worker.tools.tool import Tool, ToolContext, ToolError, ToolParts

# Splitting a longer script takes longer than a turn of the event loop should.
_LONG_SCRIPT = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Script:
    query: str
    params: list[Any]
    schema: str | None
    as_objects: bool


class Postgres(SqlTool):
    """The postgres tool."""

    kind = "postgres"

    def __init__(self, pools: PgPools, *, most_seconds: float, result_bytes: int) -> None:
        super().__init__(most_seconds=most_seconds)
        self._pools = pools
        self._result_bytes = result_bytes

    async def fetch(self, fields: SqlFields, context: ToolContext) -> JsonObject:
        """Run a script; its last statement decides the result."""
        query, params = fields.bound_query()
        script = _Script(
            query=query,
            params=params,
            schema=fields.optional_text("schema"),
            as_objects=fields.flag("as_objects", default=True),
        )
        address = address_of(fields.config, secrets=context.secrets)
        async with self._pools.connection(address, may_move=context.may_move) as connection:
            if script.schema:
                await _set_schema(connection, script.schema)
            data = await self._run_statements(connection, script)
            if connection.is_in_transaction():
                raise ToolError(
                    "Database error",
                    "Execute failed: the script left a transaction open; it was rolled back",
                )
            return data

    async def close(self) -> None:
        """Close the connections."""
        await self._pools.close()

    async def _run_statements(self, connection: Connection, script: _Script) -> JsonObject:
        if script.params:
            statements = [script.query]
        elif len(script.query) > _LONG_SCRIPT:
            statements = await asyncio.to_thread(split_statements, script.query)
        else:
            statements = split_statements(script.query)
        if not statements:
            return affected(None)
        if any(needs_input(statement) for statement in statements):
            raise ToolError("Database error", "Execute failed: COPY … FROM STDIN is not supported")
        *leading, last = statements
        if leading:
            with pg_errors("Batch execute failed"):
                # One message: the server runs it as one transaction.
                await connection.execute(";\n".join(leading))
        if not is_row_query(last):
            return await _execute(connection, last, script.params)
        with pg_errors("Query failed"):
            return await self._fetch(connection, last, script)

    async def _fetch(self, connection: Connection, sql: str, script: _Script) -> JsonObject:
        statement, values = await prepare_with_texts(connection, sql, script.params)
        columns = statement.get_attributes()
        readers = [reader(column.type) for column in columns]
        rows = RowBuffer(
            [column.name for column in columns],
            as_objects=script.as_objects,
            most_bytes=self._result_bytes,
        )
        # Rows come in pieces, and that needs a transaction. Ours ends with the rows.
        is_ours = not connection.is_in_transaction()
        if is_ours:
            await connection.execute("BEGIN")
        cursor = await statement.cursor(*values)
        while found := await cursor.fetch(rows.wanted):
            rows.add(
                [[read(value) for read, value in zip(readers, row, strict=True)] for row in found]
            )
        if is_ours:
            await connection.execute("COMMIT")
        data = rows.data()
        return data if data["row_count"] else {**data, "columns": []}


async def _set_schema(connection: Connection, schema: str) -> None:
    with pg_errors("Failed to set schema"):
        # Reads its value as `SET search_path TO` does, and runs nothing that stands in it.
        await connection.fetchval("SELECT set_config('search_path', $1, false)", schema)


async def _execute(connection: Connection, sql: str, params: list[Any]) -> JsonObject:
    with pg_errors("Execute failed"):
        if not params:
            return affected(await connection.execute(sql))
        statement, values = await prepare_with_texts(connection, sql, params)
        await statement.fetch(*values)
        return affected(statement.get_statusmsg())


def create(parts: ToolParts) -> Tool:
    """Make the tool."""
    settings = parts.settings
    return Postgres(
        PgPools(PgLimits.of(settings)),
        most_seconds=settings.worker_sql_timeout_seconds,
        result_bytes=settings.worker_sql_result_bytes,
    )
