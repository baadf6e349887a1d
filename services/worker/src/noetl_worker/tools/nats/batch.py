"""Publish many messages in one call, as an outbox relay needs it."""

import asyncio

from nats.errors import Error as NatsError
from noetl_contract.json import Json, JsonObject

from noetl_worker.tools.nats.call import Call, Operation, bytes_of
from noetl_worker.tools.tool import ToolError

_MOST_MESSAGES = 1000
_AT_ONCE = 200
_LONGEST_SECONDS = 30.0


def _read(call: Call) -> list[tuple[Json, ...]]:
    path = call.required("messages_from")
    messages = _at(call.variables, path)
    if not isinstance(messages, list):
        raise _refused(f"'messages_from: {path}' leads to no list")
    if len(messages) > _MOST_MESSAGES:
        raise _refused(f"{len(messages)} messages, {_MOST_MESSAGES} at most")
    id_field = call.fields.optional_text("id_field") or "id"
    data_field = call.fields.optional_text("data_field") or "data"
    call.waits = _LONGEST_SECONDS
    return [_message(one, n, id_field, data_field) for n, one in enumerate(messages)]


def _message(value: Json, number: int, id_field: str, data_field: str) -> tuple[Json, ...]:
    """Return id, subject, body and headers of a message."""
    if not isinstance(value, dict) or not isinstance(value.get("subject"), str):
        raise _refused(f"message {number} has no 'subject'")
    headers = {str(k): str(v) for k, v in (value.get("headers") or {}).items()}
    if value.get("message_id"):
        headers["Nats-Msg-Id"] = str(value["message_id"])
    return value.get(id_field, number), value["subject"], bytes_of(value.get(data_field)), headers


async def _publish_many(call: Call) -> JsonObject:
    """Publish side by side; each message is acknowledged or fails for itself."""
    messages = _read(call)
    js = await call.connect()
    places = asyncio.Semaphore(_AT_ONCE)

    async def publish(subject: str, data: bytes, headers: dict[str, str]) -> bool | str:
        async with places:
            try:
                ack = await js.publish(subject, data, headers=headers or None)
            except (NatsError, TimeoutError) as error:
                return str(error) or type(error).__name__
        return bool(ack.duplicate)

    outcomes = await asyncio.gather(*(publish(*one[1:]) for one in messages))
    pairs = list(zip((one[0] for one in messages), outcomes, strict=True))
    return {
        "count": len(pairs),
        "published": [name for name, outcome in pairs if not isinstance(outcome, str)],
        "duplicates": sum(outcome is True for outcome in outcomes),
        "failed": [
            {"id": name, "error": outcome} for name, outcome in pairs if isinstance(outcome, str)
        ],
    }


def _at(variables: Json, path: str) -> Json:
    """Look a value up without rendering it: messages may hold templates that are not ours."""
    for name in path.split("."):
        variables = variables.get(name) if isinstance(variables, dict) else None
    return variables


def _refused(text: str) -> ToolError:
    return ToolError("Configuration error", f"js_publish_many: {text}")


MANY_OPERATIONS: dict[str, Operation] = {"js_publish_many": _publish_many}
