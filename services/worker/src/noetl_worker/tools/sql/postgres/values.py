"""PostgreSQL values as JSON; types that JSON lacks become text that PostgreSQL reads.

The server doesn't print them, as it does for the console's SQL: how it prints times, intervals,
bytes and numbers is up to the session's settings, which are the step's own, and to its version.
Rows and arrays it prints as one text.
"""

import base64
import struct
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any

import asyncpg
import orjson

from noetl_worker.tools.sql.postgres.params import Connection

_FLOAT4 = struct.Struct(">f")
_TID = struct.Struct(">IH")
_CHARS = {("pg_catalog", "char"), ("pg_catalog", "char[]")}
_EPOCH_DAY = date(2000, 1, 1)
_DAY_MICROSECONDS = 86_400_000_000
_ENDLESS = {2**63 - 1: "infinity", -(2**63): "-infinity"}
_ENDLESS_DAY = {2**31 - 1: "infinity", -(2**31): "-infinity"}
_DAYS_OF_400_YEARS = 146_097


async def prepare_values(connection: Connection) -> None:
    """Teach a new connection to return values as `to_json` expects them."""
    for style, decoders in (("tuple", _TIMES), ("binary", _OTHERS)):
        for name, decode in decoders.items():
            await connection.set_type_codec(
                name, schema="pg_catalog", encoder=_never, decoder=decode, format=style
            )


def reader(kind: asyncpg.Type) -> Callable[[Any], Any]:
    """Return the function that makes JSON of the values of a column."""
    # The one type whose codec can't be replaced: its name means another one to the driver.
    return _chars if (kind.schema, kind.name) in _CHARS else to_json


def to_json(value: Any) -> Any:
    """Return the JSON of a value as the driver gives it; nothing but null is null."""
    write = _WRITERS.get(type(value), str)
    return value if write is None else write(value)


def _json(data: bytes | memoryview) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        # Deeper or larger than orjson takes.
        return bytes(data).decode()


def _jsonb(data: bytes) -> Any:
    # One byte of version comes first.
    return _json(memoryview(data)[1:])


def _float4(data: bytes) -> float:
    """Return the shortest number that means the same: 0.1, not 0.10000000149011612."""
    value: float = _FLOAT4.unpack(data)[0]
    if not isfinite(value):
        return value
    for digits in range(6, 9):
        short = float(f"{value:.{digits}g}")
        if _FLOAT4.pack(short) == data:
            return short
    return float(f"{value:.9g}")


def _chars(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.rstrip(b"\0").decode("latin-1")
    return [_chars(item) for item in value] if isinstance(value, list) else value


def _tid(data: bytes) -> str:
    block, offset = _TID.unpack(data)
    return f"({block},{offset})"


def _number(value: Decimal) -> str:
    if value.is_finite():
        return format(value, "f")
    return "NaN" if value.is_nan() else ("Infinity" if value > 0 else "-Infinity")


def _timestamp(value: tuple[int]) -> str:
    return _moment(value[0])


def _timestamptz(value: tuple[int]) -> str:
    text = _moment(value[0])
    if text.endswith("infinity"):
        return text
    return text.removesuffix(" BC") + "+00:00" + (" BC" if text.endswith(" BC") else "")


def _moment(microseconds: int) -> str:
    if microseconds in _ENDLESS:
        return _ENDLESS[microseconds]
    days, rest = divmod(microseconds, _DAY_MICROSECONDS)
    text = _day(days)
    era = " BC" if text.endswith(" BC") else ""
    return f"{text.removesuffix(' BC')}T{_clock(rest)}{era}"


def _date(value: tuple[int]) -> str:
    return _ENDLESS_DAY.get(value[0]) or _day(value[0])


def _day(days: int) -> str:
    """Write a day; before year 1 and after year 9999, too."""
    # The calendar repeats: do the sum where Python has dates, then move the year.
    cycles, rest = divmod(days, _DAYS_OF_400_YEARS)
    day = _EPOCH_DAY + timedelta(days=rest)
    year = day.year + 400 * cycles
    if year > 0:
        return f"{year:04}-{day:%m-%d}"
    return f"{1 - year:04}-{day:%m-%d} BC"


def _time(value: tuple[int]) -> str:
    return _clock(value[0])


def _timetz(value: tuple[int, int]) -> str:
    microseconds, west = value
    sign = "-" if west > 0 else "+"
    minutes, seconds = divmod(abs(west), 60)
    zone = f"{sign}{minutes // 60:02}:{minutes % 60:02}"
    return _clock(microseconds) + zone + (f":{seconds:02}" if seconds else "")


def _clock(microseconds: int) -> str:
    seconds, fraction = divmod(microseconds, 1_000_000)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{fraction:06}" if fraction else text


def _interval(value: tuple[int, int, int]) -> str:
    months, days, microseconds = value
    sign = -1 if months < 0 else 1
    years, months = (sign * part for part in divmod(abs(months), 12))
    parts = [
        f"{count} {name}"
        for count, name in (
            (years, "year" if years == 1 else "years"),
            (months, "mon" if months == 1 else "mons"),
            (days, "day" if days == 1 else "days"),
        )
        if count
    ]
    if microseconds or not parts:
        parts.append(("-" if microseconds < 0 else "") + _clock(abs(microseconds)))
    return " ".join(parts)


def _range(value: asyncpg.Range[Any]) -> str:
    if value.isempty:
        return "empty"
    left = "[" if value.lower_inc else "("
    right = "]" if value.upper_inc else ")"
    return f"{left}{_bound(value.lower)},{_bound(value.upper)}{right}"


def _bound(value: Any) -> str:
    if value is None:
        return ""
    text = to_json(value)
    text = text if isinstance(text, str | Decimal) else orjson.dumps(text).decode()
    text = str(text)
    if not any(mark in text for mark in ' ,()[]"\\'):
        return text or '""'
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _point(value: asyncpg.Point) -> str:
    return f"({_plain(value.x)},{_plain(value.y)})"


def _points(values: Any) -> str:
    return ",".join(_point(value) for value in values)


def _line(value: Any) -> str:
    # What the driver's class has at run time, its annotations don't know.
    return "{" + ",".join(_plain(part) for part in value) + "}"


def _circle(value: asyncpg.Circle) -> str:
    # Its centre is a pair at run time.
    x, y = value.center
    return f"<({_plain(x)},{_plain(y)}),{_plain(value.radius)}>"


def _path(value: asyncpg.Path) -> str:
    return f"({_points(value.points)})" if value.is_closed else f"[{_points(value.points)}]"


def _plain(value: float) -> str:
    return str(int(value)) if value.is_integer() else str(value)


def _never(value: Any) -> Any:
    raise TypeError(f"values are sent as text, not as {type(value).__name__}")


def _list(value: Any) -> list[Any]:
    return [to_json(item) for item in value]


def _record(value: Any) -> dict[str, Any]:
    return {name: to_json(item) for name, item in value.items()}


def _float(value: float) -> float | Decimal:
    # The encoder would write null for it; the same number as a decimal it refuses.
    return value if isfinite(value) else Decimal(value)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


# By the driver's types; None is for what is JSON as it is, and what stands nowhere here, such as
# addresses and UUIDs, has the right text of its own.
_WRITERS: dict[type, Callable[[Any], Any] | None] = {
    **dict.fromkeys((type(None), bool, int, str, dict)),
    float: _float,
    Decimal: _number,
    bytes: _base64,
    list: _list,
    tuple: _list,
    asyncpg.Record: _record,
    asyncpg.Range: _range,
    asyncpg.BitString: lambda value: value.as_string().replace(" ", ""),
    asyncpg.Point: _point,
    asyncpg.Line: _line,
    asyncpg.LineSegment: lambda value: f"[{_points((value.p1, value.p2))}]",
    asyncpg.Box: lambda value: _points((value.high, value.low)),
    asyncpg.Circle: _circle,
    asyncpg.Polygon: lambda value: f"({_points(value.points)})",
    asyncpg.Path: _path,
}

_TIMES: dict[str, Callable[[Any], str]] = {
    "timestamp": _timestamp,
    "timestamptz": _timestamptz,
    "date": _date,
    "time": _time,
    "timetz": _timetz,
    "interval": _interval,
}
_OTHERS: dict[str, Callable[[bytes], Any]] = {
    "json": _json,
    "jsonb": _jsonb,
    "float4": _float4,
    "tid": _tid,
}
