"""Conversion of rendered text to its JSON type ("3" becomes 3) by the rules of server or worker."""

import re
from typing import Final

import orjson

from noetl_template.containers import plain
from noetl_template.filters.encoding import with_textual_floats
from noetl_template.limits import Budget
from noetl_template.values import (
    INT64_MAX,
    INT64_MIN,
    SERVER,
    UINT64_MAX,
    WORKER,
    Json,
    Value,
    finite,
    float_text,
)
from noetl_template.walks import prints_as_json

_INTEGER: Final = re.compile(r"-?[0-9]+")
_DECIMAL: Final = re.compile(r"-?[0-9]+\.[0-9]+")
_NULLS: Final = frozenset({"", "null", "None"})
_NUMBER_START: Final = frozenset("-0123456789")
_JSON_START: Final = frozenset('{["-0123456789tfn')
_BRACKETS: Final = frozenset({("{", "}"), ("[", "]")})
# JSON readers may round larger numbers. The text of a number that is kept is not longer either.
_MOST: Final = 2**53
_MAX_NUMBER_CHARS: Final = 400


def server_text(text: str) -> Json:  # noqa: PLR0911 - the rules in their order
    """Convert a text that the server has rendered, or that has no template syntax."""
    trimmed = text.strip()
    if trimmed in _NULLS:
        return None
    first = trimmed[0]
    if (first, trimmed[-1]) in _BRACKETS:
        try:
            parsed: Json = orjson.loads(trimmed)
        except ValueError:
            return text
        return parsed
    if trimmed == "true":
        return True
    if trimmed == "false":
        return False
    if first in _NUMBER_START and len(trimmed) <= _MAX_NUMBER_CHARS:
        number = _number(trimmed)
        if number is not None:
            return number
    return text


def _number(text: str) -> int | float | None:
    """Return the number whose canonical text is the given text, or None."""
    number: int | float
    if _INTEGER.fullmatch(text):
        number = int(text)
        written = str(number)
    elif _DECIMAL.fullmatch(text):
        number = float(text)
        written = float_text(number)
    else:
        return None
    return number if written == text and abs(number) <= _MOST else None


def server_value(value: Value, prefix: str, suffix: str, budget: Budget) -> Json:  # noqa: PLR0911 - a table of types
    """Convert the value of a template that is a single expression.

    The result equals printing the value and converting the text. A list or map that would not
    change is returned itself and shared with the scope.
    """
    if value is None:
        return None
    match value:
        case str():
            return server_text(prefix + value + suffix if prefix or suffix else value)
        case bool():
            return value
        case int():
            return value if INT64_MIN <= value <= INT64_MAX else float(value)
        case float():
            return finite(value)
        case list() | dict() if prints_as_json(value, budget):
            known: Json = plain(value)
            return known
        case _ if value is SERVER.none:
            return f"{prefix}none{suffix}"
        case _:
            exact: Json = with_textual_floats(SERVER.json_ready(value, budget))
            return exact


def worker_text(text: str) -> Json:
    """Convert a text that the worker has rendered: to its value if it is JSON, else to itself."""
    trimmed = text.strip()
    if not trimmed or trimmed[0] not in _JSON_START:
        return text
    if trimmed[0] in _NUMBER_START:
        number = _number(trimmed) if len(trimmed) <= _MAX_NUMBER_CHARS else None
        return text if number is None else number
    try:
        parsed: Json = orjson.loads(trimmed)
    except ValueError:
        return text
    return parsed


def worker_value(value: Value, budget: Budget) -> Json:
    """Convert the value of a template that is a single expression."""
    match value:
        case str():
            return worker_text(value)
        case None | bool():
            return value
        case int():
            return value if INT64_MIN <= value <= UINT64_MAX else float(value)
        case list() | dict() if prints_as_json(value, budget):
            known: Json = plain(value)
            return known
        case _:
            exact: Json = WORKER.json_ready(value, budget)
            return exact
