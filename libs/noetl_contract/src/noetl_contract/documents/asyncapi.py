"""The AsyncAPI document: request/reply and all other channels, from their declarations."""

from collections.abc import Iterator
from functools import cache

from pydantic import TypeAdapter

from noetl_contract.channels import CHANNELS, Channel
from noetl_contract.json import Json, JsonObject, encode, parse
from noetl_contract.rpc.operation import Operation
from noetl_contract.rpc.registry import all_operations
from noetl_contract.rpc.reply import RpcReply

_SCHEMAS = "#/components/schemas/{model}"
_DESCRIPTION = """\
Messages between the services of the NoETL control plane over NATS.

Requests go to `noetl_rpc.…` and carry `Noetl-Deadline` (Unix ms) and `Noetl-Patience-Ms`; the
answer is an envelope `{status, body, error, detail}` on the reply subject, in parts with the
header `Noetl-Part` above the broker's limit. Streams and hints are the other channels.
Beside these subjects the client library and the broker use `_INBOX_noetl.>`, `$JS.>` and, for
stored results, `$O.>`.
"""


@cache
def asyncapi_document() -> JsonObject:
    """Return the document, AsyncAPI 3.0; it is built once and not to be changed."""
    schemas, definitions = TypeAdapter.json_schemas(
        [(name, "validation", adapter) for name, adapter in _bodies()], ref_template=_SCHEMAS
    )
    named = {name: schema for (name, _mode), schema in schemas.items()}
    channels: JsonObject = {}
    operations: JsonObject = {}
    messages: JsonObject = {}
    for operation in all_operations():
        _add_operation(operation, named, channels, operations, messages)
    for channel in CHANNELS:
        _add_channel(channel, named, channels, operations, messages)
    document: JsonObject = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "NoETL control plane: messages",
            "version": "1",
            "description": _DESCRIPTION,
        },
        "defaultContentType": "application/json",
        "servers": {"broker": {"host": "localhost:4222", "protocol": "nats"}},
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": definitions.get("$defs", {})},
    }
    # Defaults of structs may be tuples.
    plain: JsonObject = parse(encode(document))
    return plain


def _bodies() -> Iterator[tuple[str, TypeAdapter[Json]]]:
    for operation in all_operations():
        key = _key(operation)
        yield f"{key}.request", TypeAdapter(operation.request)
        yield f"{key}.answer", operation.answers
    for channel in CHANNELS:
        for message in channel.messages:
            yield message.name, message.body


def _key(operation: Operation[Json, Json]) -> str:
    return f"{operation.service}.{operation.name}"


def _add_operation(
    operation: Operation[Json, Json],
    schemas: JsonObject,
    channels: JsonObject,
    operations: JsonObject,
    messages: JsonObject,
) -> None:
    key, summary = _key(operation), all_operations()[operation]
    messages[f"{key}.request"] = {
        "name": f"{key}.request",
        "title": operation.request.__name__,
        "payload": schemas[f"{key}.request"],
        "headers": _headers(
            {
                "Noetl-Deadline": "End of the sender's wait in Unix milliseconds.",
                "Noetl-Patience-Ms": "Timeout of the sender in milliseconds.",
            }
        ),
    }
    messages[f"{key}.answer"] = {
        "name": f"{key}.answer",
        "payload": _reply_schema(schemas[f"{key}.answer"]),
    }
    channel: JsonObject = {
        "address": f"noetl_rpc.{operation.service}.cluster.{operation.name}",
        "description": summary,
        "messages": {"request": {"$ref": f"#/components/messages/{key}.request"}},
    }
    if operation.scope == "shard":
        channel["address"] = f"noetl_rpc.{operation.service}.{{shard}}.{operation.name}"
        channel["parameters"] = {"shard": {"description": "Number of the shard, from 0."}}
    channels[key] = channel
    channels[f"{key}.reply"] = {
        "address": None,
        "messages": {"answer": {"$ref": f"#/components/messages/{key}.answer"}},
    }
    operations[key] = {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{key}"},
        "summary": summary,
        "description": "May be asked again."
        if operation.repeatable
        else "Asked once: each request has its effect.",
        "tags": [{"name": operation.service}],
        "bindings": {"nats": {"queue": operation.service}},
        "messages": [{"$ref": f"#/channels/{key}/messages/request"}],
        "reply": {
            "channel": {"$ref": f"#/channels/{key}.reply"},
            "messages": [{"$ref": f"#/channels/{key}.reply/messages/answer"}],
        },
    }


def _reply_schema(body: Json) -> JsonObject:
    """Return the schema of the envelope around a body; a refusal has none."""
    schema = TypeAdapter(RpcReply).json_schema()
    properties = {**schema["properties"], "body": {"anyOf": [body, {"type": "null"}]}}
    return {"type": "object", "properties": properties, "required": ["status"]}


def _add_channel(
    channel: Channel,
    schemas: JsonObject,
    channels: JsonObject,
    operations: JsonObject,
    messages: JsonObject,
) -> None:
    for message in channel.messages:
        messages[message.name] = {
            "name": message.name,
            "summary": message.summary,
            "payload": schemas[message.name],
            **({"headers": _headers(message.headers)} if message.headers else {}),
        }
    stored = f" Stored in `{channel.stream}`." if channel.stream else ""
    described: JsonObject = {
        "address": channel.address,
        "description": channel.summary + stored,
        "messages": {
            message.name: {"$ref": f"#/components/messages/{message.name}"}
            for message in channel.messages
        },
    }
    if channel.parameters:
        described["parameters"] = {
            name: {"description": text} for name, text in channel.parameters.items()
        }
    channels[channel.name] = described
    for action, services in (("send", channel.senders), ("receive", channel.receivers)):
        for service in services:
            operations[f"{service}.{action}.{channel.name}"] = {
                "action": action,
                "channel": {"$ref": f"#/channels/{channel.name}"},
                "tags": [{"name": service}],
            }


def _headers(names: Json) -> JsonObject:
    return {
        "type": "object",
        "properties": {
            name: {"type": "string", "description": text} for name, text in names.items()
        },
    }
