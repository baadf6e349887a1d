"""Snowflake as source and target of `transfer`."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import orjson
from noetl_contract.json import Json, JsonObject
from noetl_worker.tools.errors import ToolError
from noetl_worker.tools.sql.columns import key_positions, matched
from noetl_worker.tools.sql.fields import SqlFields
from noetl_worker.tools.sql.names import quoted
from noetl_worker.tools.sql.transfer.places import Place, Side
from noetl_worker.tools.sql.transfer.rows import Batch, Plan, Rows
from noetl_worker.tools.sql.transfer.targets import Target, Writing
from noetl_worker.tools.tool import ToolContext, ToolParts

from noetl_tool_snowflake.login import Login, login_of
from noetl_tool_snowflake.sessions import Session, Sessions, shared_sessions
from noetl_tool_snowflake.values import duckdb_type, transfer_reader

_READ = "Query failed"
_WRITE = "Execute failed"
# A value of Snowflake has 16 MiB at most, and one carries a whole statement's rows.
_STATEMENT_BYTES = 8 << 20
_NAME: Final = re.compile(r'\s*(?:([A-Za-z_][\w$]*)|"((?:[^"]|"")+)")\s*(\.|\Z)')
_NESTED: Final = ("VARIANT", "OBJECT", "ARRAY")
_SHORT_ZONE: Final = re.compile(r"(:\d\d(?:\.\d+)?[+-]\d\d)\Z")


@dataclass(frozen=True, slots=True)
class SnowflakePlaces:
    """Databases of Snowflake."""

    sessions: Sessions
    seconds: float
    title: str = "Snowflake"

    def located(self, endpoint: JsonObject, *, side: Side, context: ToolContext) -> Place:  # noqa: ARG002
        """Read a login; `transfer` says which side it is, both have the same fields."""
        login = login_of(SqlFields(endpoint, kind="transfer"), servers=self.sessions.servers)
        return _Place(self, login, context)


@dataclass(frozen=True, slots=True)
class _Place:
    places: SnowflakePlaces
    login: Login
    context: ToolContext

    @asynccontextmanager
    async def rows(self, query: str, *, reader: str, size: int) -> AsyncIterator[Rows]:  # noqa: ARG002
        async with self._session() as session:
            await session.run(query.rstrip().rstrip(";"), what=_READ)
            columns = session.columns
            reads = [transfer_reader(one.code) for one in columns]

            async def batches() -> AsyncIterator[Batch]:
                while found := await session.fetch(size, what=_READ):
                    yield [
                        [read(value) for read, value in zip(reads, row, strict=True)]
                        for row in found
                    ]

            yield Rows(
                columns=[one.name for one in columns],
                types=[duckdb_type(one.code, one.precision, one.scale) for one in columns],
                batches=batches(),
            )

    @asynccontextmanager
    async def target(self, writing: Writing, plan: Plan) -> AsyncIterator[Target]:
        table = _table(writing.table)
        async with self._session() as session:
            known = await _described(session, table)
            names = [matched(one, list(known), table=writing.table) for one in plan.columns]
            key = [matched(one, list(known), table=writing.table) for one in writing.key]
            primary = [name for name, one in known.items() if one.is_key]
            keys = key_positions(names, key or primary, table=writing.table, mode=writing.mode)
            types = [known[name].type for name in names]
            target = _Target(session, _statement(table, names, types, keys), types, keys)
            if writing.mode == "replace":
                # TRUNCATE would commit.
                await target.run(f"DELETE FROM {table}")
            yield target
            await target.end()

    def _session(self) -> AbstractAsyncContextManager[Session]:
        places = self.places
        return places.sessions.session(self.login, self.context, seconds=places.seconds)


@dataclass(frozen=True, slots=True)
class _Column:
    type: str
    is_key: bool


class _Target:
    """A table; a single statement stands alone, several are one transaction."""

    def __init__(self, session: Session, statement: str, types: list[str], keys: list[int]) -> None:
        self._session = session
        self._statement = statement
        self._types = types
        self._keys = keys
        self._held: str | None = None
        self._has_begun = False

    async def write(self, batch: Batch) -> None:
        """Write one batch; a large one in several statements."""
        rows = [
            [_text(value, kind) for value, kind in zip(row, self._types, strict=True)]
            for row in batch
        ]
        if self._keys:
            # A statement may meet a row only once; the last one counts.
            rows = list({tuple(row[one] for one in self._keys): row for row in rows}.values())
        for piece in _pieces(rows):
            if self._held is not None:
                await self.run(self._statement, self._held)
            self._held = piece

    async def run(self, statement: str, *values: str) -> None:
        """Run a statement in the transaction, which begins with the first."""
        if not self._has_begun:
            await self._session.run("BEGIN", what=_WRITE)
            self._has_begun = True
        await self._session.run(statement, values, what=_WRITE)

    async def end(self) -> None:
        """Write the rows that are held back, and commit."""
        if self._held is not None:
            await self._session.run(self._statement, [self._held], what=_WRITE)
        if self._has_begun:
            await self._session.run("COMMIT", what=_WRITE)


async def _described(session: Session, table: str) -> dict[str, _Column]:
    await session.run(f"DESCRIBE TABLE {table}", what=_WRITE)
    place = {one.name.lower(): number for number, one in enumerate(session.columns)}
    known: dict[str, _Column] = {}
    while rows := await session.fetch(1000, what=_WRITE):
        for row in rows:
            is_key = row[place["primary key"]] == "Y"
            known[str(row[place["name"]])] = _Column(str(row[place["type"]]), is_key)
    return known


def _statement(table: str, names: list[str], types: list[str], keys: list[int]) -> str:
    """Return the statement that writes rows, which come as one JSON text: a list of lists."""
    values = ", ".join(
        f"{_expression(number, kind)} AS c{number}" for number, kind in enumerate(types)
    )
    rows = (
        f"SELECT {values} FROM (SELECT PARSE_JSON(?) AS batch) AS b, "
        "LATERAL FLATTEN(INPUT => b.batch) AS s"
    )
    listed = ", ".join(map(quoted, names))
    if not keys:
        return f"INSERT INTO {table} ({listed}) {rows}"
    same = " AND ".join(f"t.{quoted(names[number])} = x.c{number}" for number in keys)
    rest = [number for number in range(len(names)) if number not in keys]
    changes = ", ".join(f"{quoted(names[number])} = x.c{number}" for number in rest)
    update = f" WHEN MATCHED THEN UPDATE SET {changes}" if rest else ""
    new = ", ".join(f"x.c{number}" for number in range(len(names)))
    return (
        f"MERGE INTO {table} AS t USING ({rows}) AS x ON {same}{update} "
        f"WHEN NOT MATCHED THEN INSERT ({listed}) VALUES ({new})"
    )


def _expression(number: int, kind: str) -> str:
    value = f"s.value[{number}]::STRING"
    if kind.startswith(_NESTED):
        nested = f"PARSE_JSON({value})"
        return nested if kind.startswith("VARIANT") else f"{nested}::{kind}"
    return f"TO_BINARY({value}, 'HEX')" if kind.startswith("BINARY") else f"{value}::{kind}"


def _text(value: Json | bytes, kind: str) -> str | None:
    """Return a value as the text that its column reads."""
    if value is None:
        return None
    if isinstance(value, bytes):
        return value.hex()
    if kind.startswith(_NESTED):
        is_json = isinstance(value, str) and _is_json(value)
        return value if is_json else orjson.dumps(value).decode()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return orjson.dumps(value).decode()
    text = str(value)
    # PostgreSQL writes +02, and Snowflake reads +02:00.
    return _SHORT_ZONE.sub(r"\1:00", text) if kind.startswith("TIMESTAMP") else text


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _pieces(rows: list[list[str | None]]) -> Iterator[str]:
    """Yield rows as JSON lists, none longer than a statement may carry unless one row is."""
    piece: list[bytes] = []
    size = 0
    for row in rows:
        line = orjson.dumps(row)
        if piece and size + len(line) > _STATEMENT_BYTES:
            yield f"[{b','.join(piece).decode()}]"
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    if piece:
        yield f"[{b','.join(piece).decode()}]"


def _table(name: str) -> str:
    """Return a table's name with quotes; parts without are in capitals, as Snowflake reads them.

    Raises:
        ToolError: it is no name.
    """
    parts: list[str] = []
    position = 0
    while found := _NAME.match(name, position):
        plain, inside, after = found.groups()
        parts.append(quoted(plain.upper() if plain else inside.replace('""', '"')))
        position = found.end()
        if after != ".":
            break
    if position != len(name) or not 1 <= len(parts) <= 3 or name.rstrip().endswith("."):
        raise ToolError("Configuration error", f"`{name[:200]}` is no name of a table")
    return ".".join(parts)


def create(parts: ToolParts) -> SnowflakePlaces:
    """Make the kind of place; once per worker."""
    return SnowflakePlaces(shared_sessions(parts), parts.settings.worker_sql_timeout_seconds)
