"""Integers, texts, ids and times of HTTP bodies, as strict as the original server.

Pydantic's own conversions take `"1"` for a number and `1` for a boolean. These types take what
the contract takes, and their errors (type ``wrong_type``) carry the contract's word for the
expected type, from which the edge spells its texts.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, TypeIs

from pydantic import BeforeValidator, Field, GetPydanticSchema, PlainValidator, StrictBool
from pydantic_core import PydanticCustomError, core_schema

from noetl_contract.json import Json

_I64_MIN, _I64_MAX = -(1 << 63), (1 << 63) - 1
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def wrong_type(expected: str) -> PydanticCustomError:
    """Return the error of a value of another JSON type."""
    return PydanticCustomError("wrong_type", "expected {expected}", {"expected": expected})


def is_i64(value: Json) -> TypeIs[int]:
    """Return whether the value is a JSON integer of 64 bits."""
    return type(value) is int and _I64_MIN <= value <= _I64_MAX


def _id_text(value: Json) -> Json:
    return str(value) if type(value) is int else value


IdText = Annotated[str, BeforeValidator(_id_text)]
"""An id as text in an answer, formatted from the integer that rows have."""


def parse_i64(digits: str) -> int | None:
    """Parse a decimal 64-bit integer: optional sign and ASCII digits only."""
    body = digits[1:] if digits[:1] in {"+", "-"} else digits
    if not body.isascii() or not body.isdigit() or len(body) > 32:
        return None
    number = int(digits)
    return number if _I64_MIN <= number <= _I64_MAX else None


def parse_moment(text: str) -> datetime | None:
    """Return an RFC 3339 time with offset, put into UTC; None for any other text."""
    if _RFC3339.fullmatch(text) is None:
        return None
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def loose_integer(default: int | None, *, has_null: bool = True) -> PlainValidator:
    """Return the reader of an integer that templates may spell as text; null is the default."""

    def read(value: Json) -> int | None:
        if value is None and has_null:
            return default
        number = parse_i64(value.strip()) if isinstance(value, str) else value
        if not is_i64(number):
            raise wrong_type("i64")
        return number

    return PlainValidator(read, json_schema_input_type=int | str)


def loose_text(default: str) -> PlainValidator:
    """Return the reader of a text where null and an empty text are the default."""

    def read(value: Json) -> str:
        if value is not None and not isinstance(value, str):
            raise wrong_type("a string")
        return value or default

    return PlainValidator(read, json_schema_input_type=str | None)


def unread(documented: type | None) -> PlainValidator:
    """Return the reader of a field that is documented and ignored."""
    return PlainValidator(lambda value: value, json_schema_input_type=documented)


def _integer(expected: str, low: int, high: int) -> Callable[[Json], int]:
    def read(value: Json) -> int:
        if type(value) is int and low <= value <= high:
            return value
        raise wrong_type(expected)

    return read


def integer_within(low: int, high: int) -> PlainValidator:
    """Return the reader of a JSON integer that has bounds."""
    expected = f"a number from {low} to {high}"

    def read(value: Json) -> int:
        if type(value) is not int:
            raise wrong_type(expected)
        if not low <= value <= high:
            raise PydanticCustomError("wrong_value", "expected {expected}", {"expected": expected})
        return value

    return PlainValidator(read, json_schema_input_type=Annotated[int, Field(ge=low, le=high)])


def _u64(value: Json) -> int:
    if type(value) is not int:
        raise wrong_type("u64")
    if value < 0:
        raise PydanticCustomError("wrong_value", "expected {expected}", {"expected": "u64"})
    return value


def _f64(value: Json) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type("f64")
    return float(value)


def _id(value: Json) -> int:
    number = parse_i64(value) if isinstance(value, str) else value
    if not is_i64(number):
        raise wrong_type("i64")
    return number


def _moment(value: Json) -> datetime:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise wrong_type("an RFC 3339 formatted date and time string")
    moment = parse_moment(value)
    if moment is None:
        raise PydanticCustomError("wrong_time", "not a time of RFC 3339")
    return moment


def _if_text(value: Json) -> str | None:
    return value if isinstance(value, str) and value else None


Flag = StrictBool
"""A boolean, not a number or a text."""

I32 = Annotated[
    int,
    PlainValidator(
        _integer("i32", -(1 << 31), (1 << 31) - 1),
        json_schema_input_type=Annotated[int, Field(ge=-(1 << 31), lt=1 << 31)],
    ),
]
I64 = Annotated[
    int, PlainValidator(_integer("i64", _I64_MIN, _I64_MAX), json_schema_input_type=int)
]
U64 = Annotated[int, PlainValidator(_u64, json_schema_input_type=Annotated[int, Field(ge=0)])]
F64 = Annotated[float, PlainValidator(_f64, json_schema_input_type=float)]

Id = Annotated[int, PlainValidator(_id, json_schema_input_type=int | str)]
"""A 64-bit id, sent as an integer or as its decimal digits."""

IntegerOrText = Annotated[
    int | str,
    GetPydanticSchema(
        lambda _source, _handler: core_schema.union_schema(
            [core_schema.int_schema(strict=True), core_schema.str_schema(strict=True)],
            mode="left_to_right",
            custom_error_type="wrong_type",
            custom_error_message="expected {expected}",
            custom_error_context={"expected": "a string or integer"},
        )
    ),
]
"""An integer or a text; its meaning is judged after all shapes."""

Moment = Annotated[datetime, PlainValidator(_moment, json_schema_input_type=datetime)]
"""An RFC 3339 time with offset."""

IfText = Annotated[str | None, PlainValidator(_if_text, json_schema_input_type=str | None)]
"""A text that is not empty; any other value counts as absent."""

IfTrue = Annotated[bool, PlainValidator(lambda value: value is True, json_schema_input_type=bool)]
"""True; any other value counts as false."""
