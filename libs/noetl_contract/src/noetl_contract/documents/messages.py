"""The page of messages: ``python -m noetl_contract.documents.messages > docs/messages.md``."""

from collections.abc import Iterator
from itertools import groupby

from pydantic import TypeAdapter

from noetl_contract.channels import CHANNELS, Channel
from noetl_contract.json import Json, JsonObject
from noetl_contract.model import Shape
from noetl_contract.rpc.operation import Operation
from noetl_contract.rpc.registry import all_operations

_HEAD = """\
# Messages

Written by `python -m noetl_contract.documents.messages`; don't change it by hand.
The same declarations make the AsyncAPI document (`noetl_contract.documents.asyncapi`).

## Requests

Subject `noetl_rpc.<service>.<shard|cluster>.<operation>`, a JSON object in, \
`{status, body, error, detail}` out; below are the object and the body of a 200.
Header `Noetl-Deadline`: a request whose sender has given up is dropped.
A field with `?` may be absent.
"""
_DEPTH = 2


def messages_page() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *_requests(), "## Streams and hints", "", *_channels()])


def _requests() -> Iterator[str]:
    for service, operations in groupby(all_operations(), key=lambda one: one.service):
        yield f"### {service}\n"
        yield "| operation | scope | request | body | |"
        yield "|---|---|---|---|---|"
        for operation in operations:
            yield _row(operation)
        yield ""


def _row(operation: Operation[Shape, Json]) -> str:
    asked = "" if operation.repeatable else " Asked once."
    schema = operation.answers.json_schema()
    cells = [
        f"`{operation.name}`",
        operation.scope,
        _shape(TypeAdapter(operation.request).json_schema()),
        _shape(schema),
        f"{all_operations()[operation]}{asked}",
    ]
    return f"| {' | '.join(cells)} |"


def _channels() -> Iterator[str]:
    for channel in CHANNELS:
        yield from _channel(channel)


def _channel(channel: Channel) -> Iterator[str]:
    yield f"### {channel.name}\n"
    subject = f"`{channel.address}`" if channel.address else "An inbox subject"
    stored = f", stored in `{channel.stream}`" if channel.stream else ", core NATS"
    readers = ", ".join(channel.receivers) or "people"
    yield f"{subject}{stored}; from {', '.join(channel.senders)} to {readers}."
    yield f"{channel.summary}\n"
    yield "| message | body | |"
    yield "|---|---|---|"
    for message in channel.messages:
        yield f"| `{message.name}` | {_shape(message.body.json_schema())} | {message.summary} |"
    headers = {name: text for one in channel.messages for name, text in one.headers.items()}
    if headers:
        yield "\n| header | |"
        yield "|---|---|"
        yield from (f"| `{name}` | {text} |" for name, text in headers.items())
    yield ""


def _shape(schema: JsonObject) -> str:
    """Return the fields of a schema in one line, with the shape of lists and choices."""
    text = _text(schema, schema.get("$defs", {}), depth=0).replace("|", "\\|")
    return f"`{text}`"


def _text(schema: JsonObject, defs: JsonObject, *, depth: int) -> str:
    if "$ref" in schema:
        schema = defs[schema["$ref"].rpartition("/")[2]]
    if "const" in schema:
        return f'"{schema["const"]}"'
    if "enum" in schema:
        return " | ".join(f'"{one}"' for one in schema["enum"])
    kinds = schema.get("anyOf") or schema.get("oneOf")
    if kinds:
        return " | ".join(dict.fromkeys(_text(kind, defs, depth=depth) for kind in kinds))
    return _container(schema, defs, depth=depth) or schema.get("type", "any")


def _container(schema: JsonObject, defs: JsonObject, *, depth: int) -> str | None:
    """Return the shape of a list or an object; fields below the second level are left out."""
    match schema:
        case {"type": "array"}:
            items = schema.get("items") or {"anyOf": schema.get("prefixItems", [{}])}
            return f"[{_text(items, defs, depth=depth)}]"
        case {"properties": _}:
            return _fields(schema, defs, depth=depth) if depth < _DEPTH else "{}"
        case {"additionalProperties": dict(values)}:
            return f"{{key: {_text(values, defs, depth=depth)}}}"
    return None


def _fields(schema: JsonObject, defs: JsonObject, *, depth: int) -> str:
    required = schema.get("required", ())
    fields = [
        name + ("" if name in required else "?") + _deeper(field, defs, depth=depth)
        for name, field in schema["properties"].items()
    ]
    return "{" + ", ".join(fields) + "}"


def _deeper(field: JsonObject, defs: JsonObject, *, depth: int) -> str:
    """Return the shape of a field that has fields itself."""
    text = _text(field, defs, depth=depth + 1)
    return f": {text}" if "{" in text and text != "{}" else ""
