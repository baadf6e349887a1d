"""Targets of a `transfer`: written in one transaction, never left half done."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from noetl_worker.tools.sql.columns import conflict, key_positions, matched
from noetl_worker.tools.sql.duckdb.processes import DuckSession
from noetl_worker.tools.sql.duckdb.sessions import DuckDbs
from noetl_worker.tools.sql.names import quoted
from noetl_worker.tools.sql.postgres.address import PgAddress
from noetl_worker.tools.sql.postgres.errors import pg_errors
from noetl_worker.tools.sql.postgres.params import Connection, value_text
from noetl_worker.tools.sql.postgres.pools import PgLimits, open_connection
from noetl_worker.tools.sql.transfer.rows import Batch, Plan
from noetl_worker.tools.sql.transfer.sources import set_formats

_COLUMNS = """
SELECT a.attname AS name,
       format('%I.%I', n.nspname, t.typname) AS cast_to,
       t.typname || CASE WHEN t.typcategory = 'A' THEN '[]' ELSE '' END AS type_name,
       coalesce(a.attnum = ANY (i.indkey), false) AS is_key
FROM pg_attribute AS a
JOIN pg_type AS t ON t.oid = a.atttypid
JOIN pg_namespace AS n ON n.oid = t.typnamespace
LEFT JOIN pg_index AS i ON i.indrelid = a.attrelid AND i.indisprimary
WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
_JSON_TYPES = frozenset({"json", "jsonb"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """Write mode with its key columns."""

    table: str
    mode: str
    key: list[str]


class Target(Protocol):
    """A table that rows go to."""

    async def write(self, batch: Batch) -> None:
        """Write one batch."""


class _PgTarget:
    def __init__(
        self, connection: Connection, statement: str, types: list[str], keys: list[int]
    ) -> None:
        self._connection = connection
        self._statement = statement
        self._types = types
        self._keys = keys

    async def write(self, batch: Batch) -> None:
        texts = [
            [_pg_text(value, kind) for value, kind in zip(row, self._types, strict=True)]
            for row in batch
        ]
        texts = _last_of_each_key(texts, self._keys)
        columns = [[row[number] for row in texts] for number in range(len(self._types))]
        with pg_errors("Execute failed"):
            await self._connection.execute(self._statement, *columns)


class _DuckDbTarget:
    def __init__(self, session: DuckSession, width: int, keys: list[int]) -> None:
        self._session = session
        self._width = width
        self._keys = keys

    async def write(self, batch: Batch) -> None:
        texts = [[_duckdb_text(value) for value in row] for row in batch]
        texts = _last_of_each_key(texts, self._keys)
        columns = [[row[number] for row in texts] for number in range(self._width)]
        await self._session.ask("write", columns=columns)


@asynccontextmanager
async def postgres_target(
    address: PgAddress, writing: Writing, plan: Plan, *, limits: PgLimits
) -> AsyncIterator[Target]:
    """Open a table of PostgreSQL; written rows stand when the block ends well.

    Raises:
        ToolError: there is no such table or column, or the server refuses.
    """
    async with open_connection(address, limits) as connection:
        with pg_errors("Execute failed"):
            await set_formats(connection)
            await connection.execute("BEGIN")
            # The table may be locked, even by our own source when it is the same.
            milliseconds = str(int(limits.wait_seconds * 1000))
            await connection.fetchval("SELECT set_config('lock_timeout', $1, true)", milliseconds)
            target = await _pg_target(connection, writing, plan)
            if writing.mode == "replace":
                table = await connection.fetchval("SELECT $1::text::regclass::text", writing.table)
                await connection.execute(f"TRUNCATE {table}")
        yield target
        with pg_errors("Execute failed"):
            await connection.execute("COMMIT")


async def _pg_target(connection: Connection, writing: Writing, plan: Plan) -> _PgTarget:
    known = {row["name"]: row for row in await connection.fetch(_COLUMNS, writing.table)}
    names = [matched(name, list(known), table=writing.table) for name in plan.columns]
    key = [matched(name, list(known), table=writing.table) for name in writing.key]
    primary = [name for name, row in known.items() if row["is_key"]]
    keys = key_positions(names, key or primary, table=writing.table, mode=writing.mode)
    table = await connection.fetchval("SELECT $1::text::regclass::text", writing.table)
    marks = ", ".join(f"${number}::text[]" for number in range(1, len(names) + 1))
    values = ", ".join(f"v.c{n}::{known[name]['cast_to']}" for n, name in enumerate(names))
    places = ", ".join(f"c{number}" for number in range(len(names)))
    statement = (
        f"INSERT INTO {table} ({', '.join(map(quoted, names))}) "
        f"SELECT {values} FROM unnest({marks}) AS v({places}){conflict(names, keys)}"
    )
    return _PgTarget(connection, statement, [known[name]["type_name"] for name in names], keys)


@asynccontextmanager
async def duckdb_target(
    databases: DuckDbs, path: str, writing: Writing, plan: Plan
) -> AsyncIterator[Target]:
    """Open a table of DuckDB, made if it isn't there; the rest as for PostgreSQL.

    Raises:
        ToolError: there is no such column, or the database refuses.
    """
    async with databases.session(path) as session:
        begun = await session.ask(
            "into",
            table=writing.table,
            mode=writing.mode,
            key=writing.key,
            columns=plan.columns,
            types=plan.types,
        )
        yield _DuckDbTarget(session, begun["width"], begun["keys"])
        await session.ask("commit")


def _last_of_each_key[Row: Sequence[Any]](rows: list[Row], keys: list[int]) -> list[Row]:
    """Return rows without those that a later one replaces: a statement may do that only once."""
    if not keys:
        return rows
    return list({tuple(row[number] for number in keys): row for row in rows}.values())


def _pg_text(value: Any, kind: str) -> str | None:
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, str) and kind in _JSON_TYPES and not _is_json(value):
        # JSON itself goes in as it is, any other text as a text.
        return orjson.dumps(value).decode()
    return value_text(value, type_name=kind)


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _duckdb_text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return "".join(f"\\x{byte:02X}" for byte in value)
    return value_text(value, type_name="")
