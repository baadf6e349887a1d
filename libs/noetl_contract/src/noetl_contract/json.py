"""JSON as it travels: one name for free values, one encoder for everybody."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import orjson

type Json = Any
"""Any JSON value whose shape only its author knows: workloads, results, contexts."""

type JsonObject = dict[str, Json]
"""A JSON object whose keys only its author knows."""

_NUL = rb"\u0000"
_REPLACEMENT = rb"\ufffd"
_BACKSLASH = ord("\\")


def texts_in(values: Iterable[Json]) -> Iterator[str]:
    """Return all texts in values, at any depth and in their order; keys are none of them."""
    waiting = [*values][::-1]
    while waiting:
        match waiting.pop():
            case str() as text:
                yield text
            case dict() as inner:
                waiting += reversed(inner.values())
            case list() as elements:
                waiting += reversed(elements)


def parse(data: bytes) -> Json:
    """Parse JSON; integers keep all their digits.

    Raises:
        ValueError: it is no JSON, or nested too deep.
    """
    try:
        return msgspec.json.decode(data)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def without_nul(data: bytes) -> bytes:
    """Return JSON in which each NUL character, which PostgreSQL stores in no text, is replaced."""
    at = data.find(_NUL)
    if at < 0:
        return data
    replaced = bytearray(data)
    while at >= 0:
        before = at
        while before and data[before - 1] == _BACKSLASH:
            before -= 1
        if (at - before) % 2 == 0:  # else a backslash, and then the letters u0000
            replaced[at : at + len(_NUL)] = _REPLACEMENT
        at = data.find(_NUL, at + len(_NUL))
    return bytes(replaced)


def encode(value: Json) -> bytes:
    """Return compact JSON; integers beyond 64 bits and deep nesting take a slower encoder.

    Raises:
        TypeError: the value is not JSON.
        ValueError: a text in it is not Unicode (a lone surrogate) or a container holds itself.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def encode_text(value: Json) -> str | None:
    """Return JSON text for a database column; None stays NULL.

    Raises:
        TypeError, ValueError: as `encode`.
    """
    if value is None:
        return None
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return encode(value).decode()


def embed(value: Json) -> orjson.Fragment | None:
    """Return JSON that orjson copies into a larger document unchanged; None stays null.

    Raises:
        TypeError, ValueError: as `encode`.
    """
    return None if value is None else orjson.Fragment(encode(value))
