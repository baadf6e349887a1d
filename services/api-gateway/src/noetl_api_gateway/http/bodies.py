"""Reading JSON bodies as the contract's parser does.

Decoding is orjson's; what it takes differently from the contract's parser is corrected here:
nesting is limited (deeper values could not be encoded again), keys that occur twice are refused
on routes that ask for it, and NUL characters, which PostgreSQL stores in no text, are replaced
(W2).
"""

import json
import math
from typing import TYPE_CHECKING, Any

import orjson
from litestar import Request
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from noetl_contract.json import Json, JsonObject

from noetl_api_gateway.http.refusals import Refusal, bad_json, bad_shape, not_json

if TYPE_CHECKING:
    from litestar.types import Receive, ReceiveMessage

MAX_DEPTH = 128
AnyRequest = Request[Any, Any, Any]
"""A request; users, authentication and state are not typed by the edge."""

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


async def read_json(request: AnyRequest, *, unique_keys: bool = False) -> Json:
    """Return the decoded body.

    Args:
        request: its content type must be JSON.
        unique_keys: refuse an object at the root that has a key twice; costs a second parse.

    Raises:
        Refusal: 415, 413, 400 or 422 with the contract's text.
    """
    return decode(await read_json_bytes(request), unique_keys=unique_keys)


async def read_json_bytes(request: AnyRequest) -> bytes:
    """Return the body of a request whose content type must be JSON, not decoded.

    Raises:
        Refusal: 415 or 413 with the contract's text.
    """
    if not is_json(_content_type(request)):
        raise not_json()
    return await read_bytes(request)


async def read_json_if_any(request: AnyRequest) -> Json:
    """Return the decoded body, or None when there is none or it is not JSON.

    For routes that the contract lets be called with any body or none.
    """
    try:
        return decode(await read_bytes(request))
    except Refusal as refusal:
        if refusal.status == 413:
            raise
        return None


async def read_bytes(request: AnyRequest) -> bytes:
    """Return the raw body.

    It is read past the framework, which makes a map of all headers for it.

    Raises:
        RequestEntityTooLarge: it is larger than its route takes.
        ClientGoneError: the client left while sending it.
    """
    receive = request.receive
    most = request.route_handler.resolve_request_max_body_size() or math.inf
    if _announced(request) > most:
        raise RequestEntityTooLarge
    pieces, size, is_last = [], 0, False
    while not is_last:
        event = await receive()
        if event["type"] != "http.request":
            raise ClientGoneError
        pieces.append(event.get("body", b""))
        size += len(pieces[-1])
        if size > most:
            raise RequestEntityTooLarge
        is_last = not event.get("more_body")
    body = b"".join(pieces)
    # A second reader of the body, such as the framework, finds the same bytes.
    request.receive = _once_more(
        {"type": "http.request", "body": body, "more_body": False}, receive
    )
    return body


def _once_more(event: "ReceiveMessage", receive: "Receive") -> "Receive":
    """Return a receive function that gives an event, and then those that come after it."""
    events = [event]

    async def next_event() -> "ReceiveMessage":
        return events.pop() if events else await receive()

    return next_event


def decode(body: bytes, *, unique_keys: bool = False) -> Json:
    """Decode one JSON value.

    Raises:
        Refusal: 400 for a body that is not JSON, 422 for a repeated key.
    """
    if not body or body.isspace():
        raise bad_json(f"EOF while parsing a value at line 1 column {len(body)}")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_json(f"{error.msg} at line {error.lineno} column {error.colno}") from error
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and is_deeper(value, MAX_DEPTH):
        raise bad_json("recursion limit exceeded")
    if unique_keys:
        _refuse_repeated_keys(body)
    return without_nul(value) if b"\\u0000" in body else value


def without_nul(value: Json) -> Json:
    """Return the value with every NUL character, also those in keys, replaced."""
    match value:
        case str():
            return value.replace("\x00", REPLACEMENT)
        case list():
            return [without_nul(item) for item in value]
        case dict():
            return {key.replace("\x00", REPLACEMENT): without_nul(v) for key, v in value.items()}
        case _:
            return value


def _content_type(request: AnyRequest) -> str | None:
    return _header(request, b"content-type")


def _announced(request: AnyRequest) -> int:
    """Return the length that the client announces; 0 without one."""
    length = _header(request, b"content-length") or ""
    return int(length) if length.isdecimal() else 0


def _header(request: AnyRequest, wanted: bytes) -> str | None:
    """Return a header without the framework's map of all of them."""
    for name, value in request.scope["headers"]:
        if name == wanted:
            return value.decode("latin-1")
    return None


def is_json(content_type: str | None) -> bool:
    """Return whether a body is sent as JSON."""
    if content_type is None:
        return False
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json":
        return True
    return kind.startswith("application/") and kind.endswith("+json")


def is_deeper(value: Json, limit: int) -> bool:
    """Return whether lists and objects are nested deeper than a limit."""
    level = [value]
    for _ in range(limit):
        level = [item for holder in level for item in _children(holder)]
        if not level:
            return False
    return any(isinstance(item, list | dict) for item in level)


def _children(value: Json) -> list[Json]:
    if isinstance(value, dict):
        return [item for item in value.values() if isinstance(item, list | dict)]
    if isinstance(value, list):
        return [item for item in value if isinstance(item, list | dict)]
    return []


def _refuse_repeated_keys(body: bytes) -> None:
    repeated: str | None = None

    # The hook gets inner objects first and the root last.
    def note(pairs: list[tuple[str, Json]]) -> JsonObject:
        nonlocal repeated
        seen: set[str] = set()
        repeated = None
        for key, _ in pairs:
            if key in seen:
                repeated = key
                break
            seen.add(key)
        return {}

    root = json.loads(body, object_pairs_hook=note)
    if isinstance(root, dict) and repeated is not None:
        raise bad_shape(f"duplicate field `{repeated}`")
