"""Values of any PostgreSQL type as JSON, without loss.

PostgreSQL prints the values and reads the parameters itself: nothing is rounded, and types
without an equivalent in Python need no case of their own.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import asyncpg
import orjson
from asyncpg.pool import PoolConnectionProxy
from noetl_contract.json import Json

type Decoder = Callable[[str], Json]
type PooledConnection = PoolConnectionProxy[asyncpg.Record]
type Connection = asyncpg.Connection[asyncpg.Record] | PooledConnection

_OFFSET = re.compile(r"([+-]\d\d)$")


async def prepare_connection(connection: Connection) -> None:
    """Transfer values of built-in types as PostgreSQL's own text."""
    rows = await connection.fetch(_OWN_TYPES)
    _show_as_text(connection, {row["oid"]: _DECODERS.get(row["name"], str) for row in rows})


async def learn_types(connection: Connection) -> None:
    """Transfer ranges and rows as text too; their types change with the schema."""
    rows = await connection.fetch(_COMPOUND_TYPES)
    _show_as_text(connection, dict.fromkeys((row["oid"] for row in rows), str))


def _show_as_text(connection: Connection, decoders: Mapping[int, Decoder]) -> None:
    # The public method takes no ranges and no rows, and needs a query for each type.
    settings = cast("Any", connection)._protocol.get_settings()  # noqa: SLF001 -- see above
    for oid, decoder in decoders.items():
        settings.add_python_codec(oid, str(oid), "any", [], "scalar", str, decoder, "text")


def text_parameter(value: Json) -> Json:
    """Return a parameter as the text that PostgreSQL reads; lists stay lists, for arrays."""
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case dict():
            return orjson.dumps(value).decode()
        case list():
            return [text_parameter(item) for item in value]
        case _:
            return str(value)


def encode_row(names: Sequence[str], values: Iterable[Json]) -> bytes:
    """Encode a row as an object with sorted keys; of equal names the last one is kept."""
    row = {name: _plain(value) for name, value in zip(names, values, strict=True)}
    return orjson.dumps(row, option=orjson.OPT_SORT_KEYS)


def _plain(value: Json) -> Json:
    match value:
        case list() | tuple():
            return [_plain(item) for item in value]
        case bytes():  # the type "char"
            return value.decode("utf-8", "replace")
        case None | str() | bool() | int() | float() | orjson.Fragment():
            return value
        case _:
            return str(value)


def _float(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _number(text: str) -> orjson.Fragment | None:
    """Return a number as PostgreSQL prints it; None for NaN and infinities, which JSON lacks."""
    return orjson.Fragment(text) if text[-1:].isdigit() else None


def _moment(text: str) -> str:
    """Return ISO 8601: ``2026-06-15T12:00:00.5+00:00``; infinities and BC as they are."""
    if not text[:1].isdigit() or text.endswith("BC"):
        return text
    return _OFFSET.sub(r"\1:00", text.replace(" ", "T", 1)) if ":" in text else text


def _boolean(text: str) -> bool:
    return text == "t"


# Arrays are taken apart by their elements, and texts are read as they are.
_OWN_TYPES = """
SELECT t.oid, t.typname::TEXT AS name
FROM pg_catalog.pg_type AS t
WHERE t.typnamespace = 'pg_catalog'::REGNAMESPACE
    AND t.typname <> 'char'
    AND (t.typname = 'record' OR (t.typtype = 'b' AND t.typcategory NOT IN ('A', 'S')))
/* list_own_types */
"""
_COMPOUND_TYPES = """
SELECT t.oid
FROM pg_catalog.pg_type AS t
WHERE t.typtype IN ('c', 'r', 'm')
/* list_compound_types */
"""
_DECODERS: dict[str, Decoder] = {
    **dict.fromkeys(("int2", "int4", "int8", "oid", "xid", "cid"), int),
    **dict.fromkeys(("float4", "float8"), _float),
    **dict.fromkeys(("json", "jsonb"), orjson.Fragment),
    **dict.fromkeys(("timestamp", "timestamptz"), _moment),
    "numeric": _number,
    "bool": _boolean,
}
