"""JSON that PostgreSQL's jsonb accepts: no NUL characters, no lone surrogates."""

import json
from math import isfinite

import orjson
from noetl_contract.json import Json

_ESCAPED_NUL = rb"\u0000"
_REPLACEMENT = "\ufffd"


def encode(value: Json) -> bytes:
    """Encode; NUL characters and halves of surrogate pairs, which jsonb refuses, are replaced."""
    try:
        data = orjson.dumps(value)
    except TypeError:
        # Integers beyond 64 bits, or text that is no Unicode.
        return json.dumps(_clean(value), default=_text, allow_nan=False).encode()
    return orjson.dumps(_clean(value)) if _ESCAPED_NUL in data else data


def parsed(data: bytes | str, text: str) -> Json:
    """Return the value if it is JSON, else the text."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return text


def _text(value: Json) -> Json:
    return _clean(str(value))


def _clean(value: Json) -> Json:
    if isinstance(value, str):
        text = value.replace("\0", _REPLACEMENT)
        try:
            text.encode()
        except UnicodeEncodeError:
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return text
    if isinstance(value, float):
        # As the fast way does it.
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value
