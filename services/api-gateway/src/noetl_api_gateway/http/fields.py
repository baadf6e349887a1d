"""Parameters of paths and queries, with the contract's texts for wrong ones."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import unquote_to_bytes

from litestar.datastructures import MultiDict
from noetl_contract.http.scalars import parse_i64, parse_moment
from noetl_contract.json import JsonObject

from noetl_api_gateway.http.bodies import REPLACEMENT, AnyRequest
from noetl_api_gateway.http.openapi import TypeForm
from noetl_api_gateway.http.refusals import Refusal, bad_query, bad_url
from noetl_api_gateway.http.shell import ENCODED_SLASH

type Parameters = MultiDict[str]
"""Parameters of a query, which may occur several times."""

LONGEST_KEY = 500
"""Most characters of an idempotency or deduplication key: a database index holds little more."""

IDS = frozenset(
    {"catalog_id", "event_id", "execution_id", "request_id", "schedule_id", "subscription_id"}
)
"""Parameters of paths that are numbers."""
_PARAMETER = re.compile(r"{(\w+):\w+}")
_TRUE_WORDS = frozenset({"true", "1", "on", "yes", "t", "y"})
_FALSE_WORDS = frozenset({"false", "0", "off", "no", "f", "n"})


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
        segment: the text in the path.
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


def path_names(path: str) -> list[str]:
    """Return the names of a path's parameters: `{name:type}`."""
    return _PARAMETER.findall(path)


def path_fields(request: AnyRequest, names: Sequence[str]) -> JsonObject:
    """Return the parameters of a path, ids as numbers.

    Raises:
        Refusal: 400 with the contract's text.
    """
    raw: Mapping[str, str] = request.path_params
    fields: JsonObject = {}
    for index, name in enumerate(names):
        segment = raw[name].removeprefix("/")
        if name in IDS:
            fields[name] = path_id(segment, index=index if len(names) > 1 else None)
        else:
            fields[name] = path_text(request, segment, name=name)
    return fields


def query_fields(query: Parameters, declared: Mapping[str, tuple[TypeForm, str]]) -> JsonObject:
    """Return the declared parameters, read by their types; None for an absent one.

    Raises:
        Refusal: 400 with the contract's text.
    """
    if not query:
        return dict.fromkeys(declared)
    fields: JsonObject = {}
    for name, (kind, _) in declared.items():
        if kind is bool:
            fields[name] = query_flag(query, name)
        else:
            fields[name] = query_int(query, name) if kind is int else query_text(query, name)
    return fields


def query_text(query: Parameters, name: str) -> str | None:
    """Return a query parameter that may occur once, no NUL in it (W2)."""
    values: list[str] = query.getall(name, [])
    if len(values) > 1:
        raise bad_query(f"duplicate field `{name}`")
    return values[0].replace("\0", REPLACEMENT) if values else None


def query_int(query: Parameters, name: str, *, bits: int = 64) -> int | None:
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


def query_moment(value: str | None, name: str) -> datetime | None:
    """Parse a time in a query (RFC 3339); None for an absent one."""
    if value is None:
        return None
    # An unencoded `+` arrives as a space.
    moment = parse_moment(value.replace(" ", "+"))
    if moment is None:
        raise bad_query(f"{name}: input contains invalid characters")
    return moment


def query_flag(query: Parameters, name: str) -> bool | None:
    """Return a query parameter that is a boolean, also in the spellings of Python's server."""
    value = query_text(query, name)
    if value is None:
        return None
    word = value.lower()
    if word in _TRUE_WORDS:
        return True
    if word in _FALSE_WORDS:
        return False
    raise bad_query(f"{name}: provided string was not `true` or `false`")
