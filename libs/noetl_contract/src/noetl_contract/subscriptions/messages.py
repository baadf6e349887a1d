"""Messages of a source in the form that playbooks see, and the workload of their executions."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from noetl_contract.json import Json, JsonObject
from noetl_contract.subscriptions.document import PayloadFrom

type Headers = dict[str, str | list[str]]
"""By lower-case name; a list for a header that occurs several times."""

_LONGEST_KEY = 200
_OWN = ("message", "subscription", "source", "idempotency_key", "content_type")


@dataclass(slots=True, kw_only=True)
class Message:
    """A message of any source.

    Attributes:
        id: as the source names it.
        data: the body as JSON, or else as text.
        headers: what came beside it.
        attributes: other named texts of the source.
        metadata: where it comes from.
    """

    id: str
    data: Json
    headers: Headers = field(default_factory=dict)
    attributes: JsonObject = field(default_factory=dict)
    metadata: JsonObject = field(default_factory=dict)

    def to_json(self) -> JsonObject:
        """Return it as playbooks see it."""
        return {
            "id": self.id,
            "data": self.data,
            "headers": dict(self.headers),
            "attributes": self.attributes,
            "metadata": self.metadata,
        }

    def last(self, header: str) -> str | None:
        """Return the last value of a header."""
        found = self.headers.get(header.lower())
        if isinstance(found, list):
            return found[-1] if found else None
        return found

    def at(self, path: str) -> str | None:
        """Return a text or number of the message by its path, as `data.event.id`."""
        first, _, rest = path.partition(".")
        if first == "headers":
            return self.last(rest)
        value: Json = self.to_json().get(first)
        for name in rest.split(".") if rest else ():
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, bool) or not isinstance(value, str | int):
            return None
        return str(value) or None


def decoded_body(body: bytes) -> tuple[Json, JsonObject]:
    """Return a body as JSON, as text or in base64, and the encoding to note in the last case."""
    try:
        return orjson.loads(body), {}
    except orjson.JSONDecodeError:
        pass
    try:
        return body.decode(), {}
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), {"encoding": "base64"}


def headers_of(pairs: Mapping[str, str] | list[tuple[str, str]]) -> Headers:
    """Return headers by lower-case name."""
    found: Headers = {}
    for name, value in pairs.items() if isinstance(pairs, Mapping) else pairs:
        key = name.lower()
        known = found.get(key)
        if known is None:
            found[key] = value
        elif isinstance(known, list):
            known.append(value)
        else:
            found[key] = [known, value]
    return found


def workload_of(
    message: Message,
    *,
    subscription: str,
    source: str,
    payload_from: PayloadFrom = "message.json",
    idempotency_key: str | None = None,
    content_type: str | None = None,
) -> JsonObject:
    """Return the workload of a message's execution; a body can't replace our own keys."""
    own: JsonObject = {
        "message": message.to_json(),
        "subscription": subscription,
        "source": source,
    }
    if idempotency_key is not None:
        own["idempotency_key"] = idempotency_key
    if content_type is not None:
        own["content_type"] = content_type
    match payload_from:
        case "message.attributes":
            body = dict(message.attributes)
        case "message.json" if isinstance(message.data, dict):
            body = dict(message.data)
        case _:
            body = {"body": message.data}
    for name in _OWN:
        body.pop(name, None)
    return {**body, **own}


def bounded_key(key: str) -> str:
    """Return a key that fits every index: a long one is replaced by its digest."""
    if len(key) <= _LONGEST_KEY and key.isprintable():
        return key
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"sha256:{digest}"
