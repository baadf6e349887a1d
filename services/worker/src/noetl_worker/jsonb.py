"""JSON that PostgreSQL's jsonb accepts: no NUL characters, no lone surrogates."""

import json
from datetime import datetime
from functools import cache

import orjson
from msgspec import Raw
from msgspec.structs import asdict, fields
from noetl_contract import ingress
from noetl_contract.events import format_time
from noetl_contract.ingress import IngressMessage
from noetl_contract.json import Json, JsonObject
from noetl_contract.model import Struct

from noetl_worker.interpreters.host.results import plain

_ESCAPED_NUL = rb"\u0000"
_REPLACEMENT = "\ufffd"
_BEGINNINGS = ("{", "[")
_NONE = object()


def encode(value: Json) -> bytes:
    """Encode; NUL characters and halves of surrogate pairs, which jsonb refuses, are replaced.

    What is a ``msgspec.Raw`` is encoded already.

    Raises:
        NotJson: something in it has no JSON.
    """
    data = _encoded(value)
    return _encoded(_clean(opened(value))) if _ESCAPED_NUL in data else data


def _encoded(value: Json) -> bytes:
    try:
        return orjson.dumps(value, default=_as_it_is)
    except TypeError:
        # Integers beyond 64 bits, text that is no Unicode, or what is no JSON as it is.
        return json.dumps(_clean(plain(opened(value))), allow_nan=False).encode()


def encode_message(message: IngressMessage) -> bytes:
    """Encode a message as `encode` does a value.

    Raises:
        NotJson: something in it has no JSON.
    """
    try:
        data = ingress.encode_message(message)
    except (UnicodeEncodeError, TypeError):
        return encode(opened(message))
    return encode(opened(message)) if _ESCAPED_NUL in data else data


def _as_it_is(value: object) -> orjson.Fragment:
    if isinstance(value, Raw):
        return orjson.Fragment(bytes(value))
    raise TypeError(f"{type(value).__name__} is not JSON")


def opened(value: Json) -> Json:
    """Return structs as objects, and encoded parts as values."""
    match value:
        case Struct():
            tag = value.__struct_config__.tag
            named = {} if tag is None else {"type": tag}
            defaults = _defaults_of(type(value))
            set_fields = {k: v for k, v in asdict(value).items() if v is not defaults.get(k, _NONE)}
            return named | {name: opened(field) for name, field in set_fields.items()}
        case Raw():
            return json.loads(bytes(value))
        case datetime():
            return format_time(value)
        case dict():
            return {key: opened(item) for key, item in value.items()}
        case list():
            return [opened(item) for item in value]
        case _:
            return value


@cache
def _defaults_of(form: type[Struct]) -> JsonObject:
    return {one.name: one.default for one in fields(form)}


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
    """Refuse a text that would be JSON without its numbers that are not finite.

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
