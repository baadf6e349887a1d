"""Values of Snowflake as JSON, for results, for results of texts alone, and for `transfer`."""

import math
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Final

import orjson
from noetl_contract.json import Json

FIXED: Final = 0
REAL: Final = 1
DATE: Final = 3
TIMESTAMP: Final = 4
LTZ: Final = 6
TZ: Final = 7
NTZ: Final = 8
BINARY: Final = 11
TIME: Final = 12
BOOLEAN: Final = 13
NESTED: Final = frozenset({5, 9, 10, 14, 15, 16, 17})
"""VARIANT, OBJECT, ARRAY, GEOGRAPHY, GEOMETRY, VECTOR and MAP, which come as JSON."""
_DUCKDB: Final = {
    REAL: "DOUBLE", DATE: "DATE", TIMESTAMP: "TIMESTAMP", NTZ: "TIMESTAMP", LTZ: "TIMESTAMPTZ",
    TZ: "TIMESTAMPTZ", BINARY: "BLOB", TIME: "TIME", BOOLEAN: "BOOLEAN",
}  # fmt: skip
_LARGEST = 2**63

type Reader = Callable[[object], Json]


def reader(code: int) -> Reader:
    """Return the function that makes a JSON value of a column's value."""
    return _nested if code in NESTED else _plain


def transfer_reader(code: int) -> Reader:
    """Return the function that makes a value of `transfer`: a JSON value, bytes, else text."""
    if code in NESTED:
        return _nested
    return _bytes if code == BINARY else _exact


def text(value: object) -> str | None:
    """Return a value as text, as the SQL API of Snowflake gives all of them."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex().upper()
    plain = _exact(value)
    return plain if isinstance(plain, str) else str(plain)


def duckdb_type(code: int, precision: int | None, scale: int | None) -> str:
    """Return the DuckDB type that holds a column's values."""
    if code == FIXED:
        digits = precision or 38
        if not scale:
            return "BIGINT" if digits <= 18 else "HUGEINT"
        return f"DECIMAL({digits},{scale})"
    return "JSON" if code in NESTED else _DUCKDB.get(code, "VARCHAR")


def _plain(value: object) -> Json:
    if isinstance(value, float):
        # The encoder would write null for it; the same number as a decimal it refuses.
        return value if math.isfinite(value) else Decimal(value)
    if isinstance(value, bytes | bytearray):
        return b64encode(value).decode()
    return _exact(value)


def _exact(value: object) -> Json:
    match value:
        case None | bool() | str():
            exact: Json = value
        case int():
            # More digits than JSON's readers keep.
            exact = value if -_LARGEST <= value < _LARGEST else str(value)
        case float():
            exact = value if math.isfinite(value) else str(value)
        case datetime() if value.tzinfo is not None:
            exact = value.astimezone(UTC).isoformat()
        case datetime() | date() | time():
            exact = value.isoformat()
        case Decimal():
            exact = format(value, "f")
        case _:
            exact = str(value)
    return exact


def _bytes(value: object) -> Json:
    return bytes(value) if isinstance(value, bytes | bytearray) else _exact(value)


def _nested(value: object) -> Json:
    if not isinstance(value, str):
        return _plain(value)
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
