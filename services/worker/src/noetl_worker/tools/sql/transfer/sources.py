"""Sources of a `transfer`."""

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import orjson

from noetl_worker.tools.sql.duckdb.sessions import DuckDbs
from noetl_worker.tools.sql.fields import SqlFields
from noetl_worker.tools.sql.postgres.address import PgAddress
from noetl_worker.tools.sql.postgres.errors import pg_errors
from noetl_worker.tools.sql.postgres.params import Connection
from noetl_worker.tools.sql.postgres.pools import PgLimits, open_connection
from noetl_worker.tools.sql.transfer.rows import Batch, Rows, chunked
from noetl_worker.tools.tool import ToolContext, ToolError

_PASSED_ON = ("headers", "params", "json", "form", "body", "timeout_seconds")
_PG_TYPES = {
    "bool": "BOOLEAN", "int2": "SMALLINT", "int4": "INTEGER", "int8": "BIGINT", "oid": "BIGINT",
    "float4": "FLOAT", "float8": "DOUBLE", "date": "DATE", "time": "TIME", "timetz": "TIMETZ",
    "timestamp": "TIMESTAMP", "timestamptz": "TIMESTAMPTZ", "interval": "INTERVAL",
    "uuid": "UUID", "bytea": "BLOB", "json": "JSON", "jsonb": "JSON",
}  # fmt: skip
_DATES = frozenset({"date", "timestamp", "timestamptz"})
# Whatever server and role say, values come and go in one form.
_FORMATS = "SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'"


async def http_rows(
    source: Mapping[str, Any], context: ToolContext, *, wanted: list[str], size: int
) -> Rows:
    """Fetch JSON and return its rows; an object is one row.

    Raises:
        ToolError: there is no good answer, or no rows in it.
    """
    fields = SqlFields(dict(source), kind="transfer")
    call = {
        "url": fields.text("url"),
        "method": "POST" if fields.optional_text("method") == "POST" else "GET",
        **{name: source[name] for name in _PASSED_ON if source.get(name) is not None},
    }
    auth = source.get("auth")
    result = await context.toolbox.run(
        # Rendered already: it must not be once more.
        "http",
        call,
        replace(context, auth=auth if isinstance(auth, dict) else None, is_rendered=True),
    )
    if result.status != "success":
        raise ToolError("HTTP error", f"source: {result.error}", failure=result.failure)
    found = _at(result.value["body"], fields.optional_text("data_path"))
    if isinstance(found, dict):
        found = [found]
    if not isinstance(found, list):
        raise ToolError("HTTP error", "HTTP response data must be an array or object")
    for number, row in enumerate(found):
        if not isinstance(row, dict):
            raise ToolError("HTTP error", f"HTTP response data: row {number} is not an object")
    columns = wanted or (list(found[0]) if found else [])
    rows = [[_value(row, name) for name in columns] for row in found]
    types = [_json_type([row[position] for row in rows]) for position in range(len(columns))]
    return Rows(columns=columns, types=types, batches=_each(chunked(rows, size)))


@asynccontextmanager
async def postgres_rows(
    address: PgAddress, query: str, *, limits: PgLimits, for_duckdb: bool, size: int
) -> AsyncIterator[Rows]:
    """Run a query on PostgreSQL and return its rows as they come.

    Raises:
        ToolError: it can't be run.
    """
    async with open_connection(address, limits) as connection:
        with pg_errors("Query failed"):
            await set_formats(connection)
            columns = (await connection.prepare(query)).get_attributes()
            parts = [
                _pg_part(f"q.c{number}", column.type, for_duckdb=for_duckdb)
                for number, column in enumerate(columns)
            ]
            names = ", ".join(f"c{number}" for number in range(len(columns)))
            texts = ", ".join(part for part, _ in parts)
            # A comment may end the query, not the line.
            statement = f"SELECT {texts} FROM ({query.rstrip().rstrip(';')}\n) AS q({names})"
            await connection.execute("BEGIN")
            cursor = await connection.cursor(statement)
        yield Rows(
            columns=[column.name for column in columns],
            types=[_duckdb_type(column.type) for column in columns],
            batches=_pg_batches(cursor, [read for _, read in parts], size),
        )


@asynccontextmanager
async def duckdb_rows(
    databases: DuckDbs,
    path: str | None,
    query: str,
    *,
    execution: int,
    for_postgres: bool,
    size: int,
) -> AsyncIterator[Rows]:
    """Run a query on DuckDB and return its rows as they come.

    Raises:
        ToolError: it can't be run.
    """
    directory = None if path else await databases.directory(execution)
    async with databases.session(path, directory=directory) as session:
        described = await session.ask("read", query=query, for_postgres=for_postgres)
        columns, types = described["columns"], described["types"]
        reads = [_same] * len(columns)
        for number in described["bytes"]:
            reads[number] = _from_base64
        for number in described["json"]:
            reads[number] = _from_json

        async def batches() -> AsyncIterator[Batch]:
            while found := await session.ask("fetch", size=size):
                yield [
                    [read(value) for read, value in zip(reads, row, strict=True)] for row in found
                ]

        yield Rows(columns=columns, types=types, batches=batches())


async def set_formats(connection: Connection) -> None:
    """Make a session write and read values in the one form that travels here."""
    await connection.execute(_FORMATS)


async def _each(batches: list[Batch]) -> AsyncIterator[Batch]:
    for batch in batches:
        yield batch


async def _pg_batches(cursor: Any, reads: list[Any], size: int) -> AsyncIterator[Batch]:
    with pg_errors("Query failed"):
        while found := await cursor.fetch(size):
            yield [[read(value) for read, value in zip(reads, row, strict=True)] for row in found]


def _pg_part(name: str, kind: asyncpg.Type, *, for_duckdb: bool) -> tuple[str, Any]:
    if kind.name == "bytea":
        return name, _same
    if for_duckdb and kind.kind in {"array", "composite"}:
        return f"to_json({name})::text", _from_json
    if for_duckdb and kind.name in _DATES:
        return f"replace({name}::text, ' BC', ' (BC)')", _same
    return f"{name}::text", _same


def _duckdb_type(kind: asyncpg.Type) -> str:
    if kind.kind == "composite":
        return "JSON"
    element = kind.name.removesuffix("[]")
    return _PG_TYPES.get(element, "VARCHAR") + kind.name.removeprefix(element)


def _at(body: Any, path: str | None) -> Any:
    for segment in (path or "").split("."):
        if not segment:
            continue
        if isinstance(body, dict) and segment in body:
            body = body[segment]
        elif isinstance(body, list) and segment.isdecimal() and int(segment) < len(body):
            body = body[int(segment)]
        else:
            raise ToolError("HTTP error", f"Path segment '{segment}' not found in JSON")
    return body


def _value(row: Mapping[str, Any], name: str) -> Any:
    """Return a row's value; a name with dots leads into objects unless there is such a key."""
    if name in row:
        return row[name]
    value: Any = row
    for segment in name.split("."):
        value = value.get(segment) if isinstance(value, dict) else None
    return value


def _json_type(values: list[Any]) -> str:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return "BOOLEAN"
    if kinds == {int} and all(-(2**63) <= value < 2**63 for value in values if value is not None):
        return "BIGINT"
    if kinds and kinds <= {int, float}:
        return "DOUBLE"
    return "JSON" if kinds and kinds <= {dict, list} else "VARCHAR"


def _same(value: Any) -> Any:
    return value


def _from_base64(value: str | None) -> Any:
    return None if value is None else base64.b64decode(value)


def _from_json(value: str | None) -> Any:
    return None if value is None else orjson.loads(value)
