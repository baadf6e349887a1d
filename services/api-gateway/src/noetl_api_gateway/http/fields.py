"""Taking typed fields out of decoded JSON, with the contract's texts for wrong ones.

Plain functions instead of models: the event route handles every event of every worker, and
the texts are the contract's (http-a 1.2), not a validation library's.
"""

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_to_bytes

from noetl_api_gateway.http.bodies import REPLACEMENT, AnyRequest
from noetl_api_gateway.http.refusals import Refusal, bad_query, bad_shape, bad_url
from noetl_api_gateway.http.shell import ENCODED_SLASH

type Json = Any
type Object = dict[str, Any]

LONGEST_KEY = 500
"""Characters of an idempotency or deduplication key: a database index takes little more."""

MISSING: Any = object()
_I64_MIN, _I64_MAX = -(1 << 63), (1 << 63) - 1
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_NUMBER_NAMES = {bool: "boolean", int: "integer", float: "floating point"}
_TRUE_WORDS = frozenset({"true", "1", "on", "yes", "t", "y"})
_FALSE_WORDS = frozenset({"false", "0", "off", "no", "f", "n"})


def require_object(body: Json, *, name: str, path: str = "") -> Object:
    """Return the body if it is an object."""
    if isinstance(body, dict):
        return body
    raise wrong_type(body, expected=f"struct {name}", path=path)


def require(source: Object, name: str, *, path: str = "") -> Json:
    """Return a field that must be there, null allowed."""
    value = source.get(name, MISSING)
    if value is MISSING:
        raise missing(name, path=path)
    return value


def aliased(source: Object, name: str, other: str) -> Json:
    """Return a field that has two names: the canonical one wins; MISSING when absent."""
    value = source.get(name, MISSING)
    return source.get(other, MISSING) if value is MISSING else value


def text(source: Object, name: str, *, default: str | None = None, path: str = "") -> str:
    """Return a string field; without a default it must be there."""
    value = source.get(name, MISSING)
    if value is MISSING:
        if default is not None:
            return default
        raise missing(name, path=path)
    if not isinstance(value, str):
        raise wrong_type(value, expected="a string", path=_join(path, name))
    return value


def text_or_none(source: Object, name: str, *, path: str = "") -> str | None:
    """Return a string field that may be null or absent."""
    value = source.get(name)
    if value is None or isinstance(value, str):
        return value
    raise wrong_type(value, expected="a string", path=_join(path, name))


def flag(source: Object, name: str, *, default: bool, path: str = "") -> bool:
    """Return a strict boolean field."""
    value = source.get(name, default)
    if isinstance(value, bool):
        return value
    raise wrong_type(value, expected="a boolean", path=_join(path, name))


def id_or_none(source: Object, name: str, *, path: str = "") -> int | None:
    """Return an id sent as integer or decimal string (http-b 0.3, ours)."""
    value = source.get(name)
    if value is None:
        return None
    if is_i64(value):
        return int(value)
    if isinstance(value, str):
        number = parse_i64(value)
        if number is not None:
            return number
    raise wrong_type(value, expected="i64", path=_join(path, name))


def int_or_none(source: Object, name: str, *, bits: int, path: str = "") -> int | None:
    """Return a signed integer field that may be null or absent."""
    value = source.get(name)
    if value is None:
        return None
    limit = 1 << (bits - 1)
    if isinstance(value, int) and not isinstance(value, bool) and -limit <= value < limit:
        return value
    raise wrong_type(value, expected=f"i{bits}", path=_join(path, name))


def int_like(source: Object, name: str, *, default: int, path: str = "") -> int:
    """Return an integer that may be spelt as a string: templates render numbers so (http-b 9.2)."""
    value = source.get(name)
    if value is None:
        return default
    if isinstance(value, str):
        number = parse_i64(value.strip())
        if number is not None:
            return number
    if is_i64(value):
        return int(value)
    raise wrong_type(value, expected="i64", path=_join(path, name))


def time_or_none(source: Object, name: str, *, path: str = "") -> str | None:
    """Return an RFC 3339 time with offset, put into UTC, that may be null or absent."""
    value = source.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise wrong_type(
            value, expected="an RFC 3339 formatted date and time string", path=_join(path, name)
        )
    moment = rfc3339_time(value)
    if moment is None:
        raise _bad_time(value, path=_join(path, name))
    return moment


def rfc3339_time(value: str) -> str | None:
    """Put an RFC 3339 time with offset into UTC; None if it is none."""
    if _RFC3339.fullmatch(value) is None:
        return None
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        return None


def missing(name: str, *, path: str = "") -> Refusal:
    """422: a required field is absent."""
    return bad_shape(f"{_prefix(path)}missing field `{name}`")


def wrong_type(value: Json, *, expected: str, path: str = "") -> Refusal:
    """422: a field has another JSON type."""
    return bad_shape(f"{_prefix(path)}invalid type: {_described(value)}, expected {expected}")


def is_i64(value: Json) -> bool:
    """Whether the value is a JSON integer of 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and _I64_MIN <= value <= _I64_MAX


def parse_i64(digits: str) -> int | None:
    """Parse a decimal 64-bit integer: optional sign and ASCII digits only."""
    body = digits[1:] if digits[:1] in {"+", "-"} else digits
    if not body.isascii() or not body.isdigit() or len(body) > 32:
        return None
    number = int(digits)
    return number if _I64_MIN <= number <= _I64_MAX else None


def idempotency_key(request: AnyRequest) -> str | None:
    """Return the client's key, also in the spelling of Python's server."""
    headers = request.headers
    key = headers.get("idempotency-key") or headers.get("x-idempotency-key")
    return bounded_text(None if key is None else key.strip(), LONGEST_KEY, "Idempotency-Key")


def bounded_text(value: str | None, limit: int, name: str) -> str | None:
    """Return a text that is not too long, None for an empty one."""
    if value and len(value) > limit:
        raise Refusal(422, f"{name} is longer than {limit} characters")
    return value or None


def path_id(segment: str, *, index: int | None = None) -> int:
    """Parse a path segment that is an id.

    Args:
        segment: what stands in the path.
        index: which of several segments it is; None when the route has only one.

    Raises:
        Refusal: 400 with the contract's text.
    """
    number = parse_i64(segment)
    if number is None:
        shown = segment[:200].replace(ENCODED_SLASH, "/")
        if index is None:
            raise bad_url(f"Cannot parse `{shown}` to a `i64`")
        raise bad_url(f"Cannot parse value at index {index} with value `{shown}` to a `i64`")
    return number


def path_text(request: AnyRequest, segment: str, *, name: str) -> str:
    """Return a path segment that is text, its encoded slashes decoded.

    Raises:
        Refusal: 400, the bytes in the address are no UTF-8.
    """
    if REPLACEMENT in segment:
        try:
            unquote_to_bytes(request.scope["raw_path"]).decode()
        except UnicodeDecodeError:
            raise bad_url(f"Invalid UTF-8 in `{name}`") from None
    return segment.replace(ENCODED_SLASH, "/").replace("\0", REPLACEMENT)


def query_text(query: Any, name: str) -> str | None:
    """Return a query parameter that may occur once, no NUL in it (design W2)."""
    values: list[str] = query.getall(name, [])
    if len(values) > 1:
        raise bad_query(f"duplicate field `{name}`")
    return values[0].replace("\0", REPLACEMENT) if values else None


def query_int(query: Any, name: str, *, bits: int = 64) -> int | None:
    """Return a query parameter that is a signed integer."""
    value = query_text(query, name)
    if value is None:
        return None
    if value == "":
        raise bad_query(f"{name}: cannot parse integer from empty string")
    number = parse_i64(value)
    if number is None:
        raise bad_query(f"{name}: invalid digit found in string")
    limit = 1 << (bits - 1)
    if not -limit <= number < limit:
        size = "large" if number > 0 else "small"
        raise bad_query(f"{name}: number too {size} to fit in target type")
    return number


def query_flag(query: Any, name: str, *, default: bool) -> bool:
    """Return a query parameter that is a boolean, also in the spellings of Python's server."""
    value = query_text(query, name)
    if value is None:
        return default
    word = value.lower()
    if word in _TRUE_WORDS:
        return True
    if word in _FALSE_WORDS:
        return False
    raise bad_query(f"{name}: provided string was not `true` or `false`")


def _bad_time(value: str, *, path: str) -> Refusal:
    return bad_shape(f"{_prefix(path)}input contains invalid characters: {_quoted(value)}")


def _described(value: Json) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"string {_quoted(value)}"
    if isinstance(value, list | dict):
        return "sequence" if isinstance(value, list) else "map"
    name = _NUMBER_NAMES[type(value)]
    return f"{name} `{str(value).lower()}`"


def _quoted(value: str) -> str:
    cut = value if len(value) <= 100 else f"{value[:100]}…"
    escaped = cut.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _prefix(path: str) -> str:
    return f"{path}: " if path else ""
