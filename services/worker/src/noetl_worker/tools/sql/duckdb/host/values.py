"""DuckDB values as JSON.

Times and intervals are taken apart by DuckDB itself: on their way through Python they would lose
months, nanoseconds and whatever lies outside of Python's calendar.
"""

import base64
import json
from collections.abc import Callable
from decimal import Decimal
from math import isfinite
from typing import Any

from duckdb.sqltypes import DuckDBPyType

from noetl_worker.tools.sql.names import literal, quoted

_MOST = 2**63 - 1
_TIMES: dict[str, str] = {
    "timestamp": "epoch_us({x})",
    "timestamp with time zone": "epoch_us({x})",
    "timestamp_s": "epoch_us({x}) // 1000000",
    "timestamp_ms": "epoch_us({x}) // 1000",
    "timestamp_ns": "epoch_ns({x})",
}
_OTHERS: dict[str, str] = {
    "date": "({x} - DATE '1970-01-01')",
    "time": "epoch_us({x})",
    "time_ns": "epoch_ns({x})",
    # Its number would have no zone.
    "time with time zone": "CAST({x} AS VARCHAR)",
    "interval": (
        "CASE WHEN {x} IS NULL THEN NULL ELSE {{"
        "'months': datepart('year', {x}) * 12 + datepart('month', {x}), "
        "'days': datepart('day', {x}), "
        "'nanos': (datepart('hour', {x}) * 3600 + datepart('minute', {x}) * 60) * 1000000000"
        " + datepart('microsecond', {x}) * 1000}} END"
    ),
}
_TEXTS = frozenset({"hugeint", "uhugeint", "bignum", "decimal", "uuid", "bit"})
_LISTS = frozenset({"list", "array"})
_PLAIN = (bool, int, str, type(None))
_KEY_NAMES = {
    "varchar": "Text", "boolean": "Boolean", "tinyint": "TinyInt", "smallint": "SmallInt",
    "integer": "Int", "bigint": "BigInt", "hugeint": "HugeInt", "utinyint": "UTinyInt",
    "usmallint": "USmallInt", "uinteger": "UInt", "ubigint": "UBigInt", "float": "Float",
    "double": "Double", "decimal": "Decimal", "date": "Date32",
}  # fmt: skip


def readable(sql: str, kinds: list[DuckDBPyType]) -> str:
    """Return a query for the same rows in a form that survives the way through Python."""
    parts = [_readable(f"#{number}", kind) for number, kind in enumerate(kinds, start=1)]
    if all(part.startswith("#") for part in parts):
        return sql
    # Columns by number, as names may occur twice. A comment may end the query, not the line.
    columns = ", ".join(f"{part} AS c{number}" for number, part in enumerate(parts))
    return f"SELECT {columns} FROM ({sql}\n)"


def reader(kind: DuckDBPyType) -> Callable[[Any], Any]:  # noqa: PLR0911  a table of types
    """Return the function that makes JSON of a value of a type, as `readable` gives it."""
    name = kind.id
    if name in _LISTS:
        return _list_reader(kind)
    if name == "struct":
        return _struct_reader(kind)
    if name == "map":
        return _map_reader(kind)
    if name in _TEXTS:
        return _text
    if name == "blob":
        return _base64
    if name in _TIMES or name in _OTHERS:
        return _same
    return _scalar


def _readable(  # noqa: PLR0911  a table of types
    expression: str, kind: DuckDBPyType, depth: int = 0
) -> str:
    name = kind.id
    if name in _TIMES:
        value = _TIMES[name].format(x=expression)
        moment = f"CAST({expression} AS TIMESTAMP)"
        return (
            f"CASE WHEN isfinite({moment}) THEN {value} WHEN {moment} > 'epoch' "
            f"THEN {_MOST} WHEN {moment} IS NOT NULL THEN {-_MOST} END"
        )
    if name in _OTHERS:
        return _OTHERS[name].format(x=expression)
    item = f"i{depth}"
    if name in _LISTS:
        inner = _readable(item, _child(kind, "child"), depth + 1)
        if inner == item:
            return expression
        flat = f"CAST({expression} AS {_child(kind, 'child')}[])"
        return f"list_transform({flat}, lambda {item}: {inner})"
    if name == "map":
        key = _readable(f"{item}.key", _child(kind, "key"), depth + 1)
        value = _readable(f"{item}.value", _child(kind, "value"), depth + 1)
        pair = f"struct_pack(key := {key}, value := {value})"
        return f"list_transform(map_entries({expression}), lambda {item}: {pair})"
    if name == "struct":
        return _readable_struct(expression, kind, depth)
    return expression


def _readable_struct(expression: str, kind: DuckDBPyType, depth: int) -> str:
    fields: list[str] = []
    is_changed = False
    for name, child in _children(kind).items():
        part = f"struct_extract({expression}, {literal(name)})"
        inner = _readable(part, child, depth)
        is_changed = is_changed or inner != part
        fields.append(f"{quoted(name)} := {inner}")
    if not is_changed:
        return expression
    return f"CASE WHEN {expression} IS NULL THEN NULL ELSE struct_pack({', '.join(fields)}) END"


def _child(kind: DuckDBPyType, name: str) -> DuckDBPyType:
    return _children(kind)[name]


def _children(kind: DuckDBPyType) -> dict[str, DuckDBPyType]:
    # An array has its size here, too.
    return {name: child for name, child in kind.children if isinstance(child, DuckDBPyType)}


def _list_reader(kind: DuckDBPyType) -> Callable[[Any], Any]:
    read = reader(_child(kind, "child"))
    return lambda value: None if value is None else [read(item) for item in value]


def _struct_reader(kind: DuckDBPyType) -> Callable[[Any], Any]:
    readers = {name: reader(child) for name, child in _children(kind).items()}

    def read(value: Any) -> Any:
        if value is None:
            return None
        # One without names comes as a tuple.
        items = value.values() if isinstance(value, dict) else value
        return {name: each(item) for (name, each), item in zip(readers.items(), items, strict=True)}

    return read


def _map_reader(kind: DuckDBPyType) -> Callable[[Any], Any]:
    key_kind = _child(kind, "key")
    key, value = reader(key_kind), reader(_child(kind, "value"))

    def read(entries: Any) -> Any:
        if entries is None:
            return None
        return {_key(key(entry["key"]), key_kind): value(entry["value"]) for entry in entries}

    return read


def _key(value: Any, kind: DuckDBPyType) -> str:
    """Return the name of a map's key: as the original worker prints it, ``Text("a")``."""
    name = _KEY_NAMES.get(kind.id, "Text")
    if kind.id in _TIMES:
        unit = {
            "timestamp_s": "Second",
            "timestamp_ms": "Millisecond",
            "timestamp_ns": "Nanosecond",
        }
        return f"Timestamp({unit.get(kind.id, 'Microsecond')}, {value})"
    if name == "Text":
        return f"Text({json.dumps(value, ensure_ascii=False, default=str)})"
    return f"{name}({str(value).lower() if isinstance(value, bool) else value})"


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _base64(value: Any) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _same(value: Any) -> Any:
    return value


def _scalar(value: Any) -> Any:
    if isinstance(value, float):
        # The encoder would write null for it; the same number as a decimal it refuses.
        return value if isfinite(value) else Decimal(value)
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, bytes):
        return _base64(value)
    # Unions of all kinds, and types to come.
    return str(value)
