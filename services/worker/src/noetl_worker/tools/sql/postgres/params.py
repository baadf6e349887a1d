"""Values for the parameters of a statement.

All travel as text, and the server reads them as the type it inferred. So a number fits a column of
any type that its text fits.
"""

from collections.abc import Sequence
from typing import Any

import asyncpg
from noetl_pg.sql.text import placeholders

from noetl_worker import jsonb
from noetl_worker.tools.sql.names import quoted

type Connection = asyncpg.Connection[asyncpg.Record]
type Statement = asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]

_TEXTS = frozenset({"text", "varchar", "name", "unknown"})
_INTEGERS = frozenset({"int2", "int4", "int8", "oid"})


async def prepare_with_texts(
    connection: Connection, sql: str, values: Sequence[Any]
) -> tuple[Statement, list[str | None]]:
    """Prepare a statement and return it with its values, ready to run."""
    statement = await connection.prepare(sql)
    types = statement.get_parameters()
    if len(types) != len(values):
        # What the driver would say, before it looks at any value.
        raise asyncpg.InterfaceError(
            f"the server expects {len(types)} argument{'' if len(types) == 1 else 's'} "
            f"for this query, {len(values)} {'was' if len(values) == 1 else 'were'} passed"
        )
    texts = [value_text(value, type_name=kind.name) for value, kind in zip(values, types)]  # noqa: B905
    if all(_is_text(kind) for kind in types):
        return statement, texts
    return await connection.prepare(_with_casts(sql, types)), texts


def value_text(value: Any, *, type_name: str) -> str | None:
    """Return a JSON value as the text of a type."""
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            whole = type_name in _INTEGERS and value.is_integer()
            return str(int(value)) if whole else repr(value)
        case list() if type_name.endswith("[]"):
            return array_text(value)
    return jsonb.encode(value).decode()


def array_text(values: Sequence[Any]) -> str:
    """Return a list as the text of an array: ``{"a","b",NULL}``."""
    parts: list[str] = []
    for value in values:
        if isinstance(value, list):
            parts.append(array_text(value))
            continue
        text = value_text(value, type_name="")
        if text is None:
            parts.append("NULL")
        else:
            escaped = text.replace("\\", "\\\\").replace('"', '\\"')
            parts.append(f'"{escaped}"')
    return "{" + ",".join(parts) + "}"


def _is_text(kind: asyncpg.Type) -> bool:
    return kind.schema == "pg_catalog" and kind.name in _TEXTS


def _with_casts(sql: str, types: Sequence[asyncpg.Type]) -> str:
    parts: list[str] = []
    position = 0
    for number, start, end in placeholders(sql):
        kind = types[number - 1]
        if _is_text(kind):
            continue
        parts += [sql[position:start], f"(${number}::text::{_type_name(kind)})"]
        position = end
    return "".join([*parts, sql[position:]])


def _type_name(kind: asyncpg.Type) -> str:
    name = kind.name.removesuffix("[]")
    return f"{quoted(kind.schema)}.{quoted(name)}" + ("[]" if name != kind.name else "")
