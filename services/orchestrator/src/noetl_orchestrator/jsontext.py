"""JSON text that is written once and used in several places: rows, hints, replies."""

import json
from typing import Any

import orjson

__all__ = ["dump", "embed", "text"]


def dump(value: Any) -> bytes:
    """Encode any JSON, also integers beyond 64 bits, which playbooks and workers may hold.

    Raises:
        TypeError, ValueError: it is no JSON (a lone surrogate, for example).
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def embed(value: Any) -> orjson.Fragment | None:
    """Encode a value for use inside other JSON; None stays a null."""
    return None if value is None else orjson.Fragment(dump(value))


def text(value: Any) -> str | None:
    """Encode a value for a column; None stays a null."""
    return None if value is None else dump(value).decode()
