"""JSON that PostgreSQL's jsonb accepts: no NUL characters, no lone surrogates."""

import json

import orjson
from noetl_contract.json import Json

from noetl_worker.interpreters.host.results import plain

_ESCAPED_NUL = rb"\u0000"
_REPLACEMENT = "\ufffd"
_BEGINNINGS = ("{", "[")


def encode(value: Json) -> bytes:
    """Encode; NUL characters and halves of surrogate pairs, which jsonb refuses, are replaced.

    Raises:
        NotJson: something in it has no JSON.
    """
    try:
        data = orjson.dumps(value)
    except TypeError:
        # Integers beyond 64 bits, text that is no Unicode, or what is no JSON as it is.
        return json.dumps(_clean(plain(value)), allow_nan=False).encode()
    return orjson.dumps(_clean(value)) if _ESCAPED_NUL in data else data


def parsed(data: bytes | str, text: Json) -> Json:
    """Return the value if it is JSON, else the text.

    Raises:
        NotJson: it is a list or an object and all right but for a number that is not finite, which
            many programs write.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        refuse_not_finite(data)
        return text


def refuse_not_finite(data: bytes | str) -> None:
    """Refuse what would be JSON if it had no number that is not finite.

    Raises:
        NotJson: with its path.
    """
    try:
        text = data if isinstance(data, str) else data.decode()
        value = json.loads(text) if text.lstrip().startswith(_BEGINNINGS) else None
    except (ValueError, RecursionError):
        return
    plain(value)


def _clean(value: Json) -> Json:
    if isinstance(value, str):
        text = value.replace("\0", _REPLACEMENT)
        try:
            text.encode()
        except UnicodeEncodeError:
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return text
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value
