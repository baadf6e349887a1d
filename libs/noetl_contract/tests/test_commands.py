"""Notifications of commands, as they are written and read."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import orjson
import pytest
from msgspec import Raw
from noetl_contract.commands import (
    FastCommand,
    FastPath,
    decode_notification,
    encode_notification,
)

_SENT: dict[str, Any] = {
    "execution_id": 482217234567890123,
    "event_id": 482217234567890456,
    "command_id": "482217234567890123:start:1",
    "step": "start",
    "server_url": "http://s:8082",
    "trace": {"traceparent": "00-1-2-01"},
    "fast": {
        "v": 1,
        "shard": 0,
        "attempts": 2,
        "until": "2026-06-14T10:15:59Z",
        "command": {"action": "noop", "context": {"a": [1]}, "meta": {"b": None}, "more": 1},
        "more": 1,
    },
    "more": 1,
}
_ODD = (None, True, False, 0, 1, 2, 1.0, -5, "", "1", "x", [], [1], {}, {"v": 1})
_PLACES = [
    path
    for path in [
        *((name,) for name in _SENT),
        *(("fast", name) for name in _SENT["fast"]),
        *(("fast", "command", name) for name in _SENT["fast"]["command"]),
    ]
    if "more" not in path
]


def _changed() -> Iterator[Any]:
    yield _SENT
    yield from ([], None, 5, "text")
    for path in _PLACES:
        for value in (*_ODD, KeyError):
            body = deepcopy(_SENT)
            inside = body
            for name in path[:-1]:
                inside = inside[name]
            if value is KeyError:
                del inside[path[-1]]
            else:
                inside[path[-1]] = value
            yield body


@pytest.mark.parametrize("body", [*_changed()])
def test_what_can_not_be_read_is_absent_where_it_is_optional(body: Any) -> None:
    data = orjson.dumps(body)
    if not _is_readable(body):
        with pytest.raises(ValueError, match=r"Expected|missing"):
            decode_notification(data)
        return

    note = decode_notification(data)

    assert (note.execution_id, note.event_id) == (body["execution_id"], body["event_id"])
    assert (note.step, note.server_url) == (body["step"], body["server_url"])
    assert note.command_id == str(body["command_id"])
    assert note.trace == _if(dict, body.get("trace"))
    fast = body.get("fast")
    if not _is_fast(fast):
        assert note.fast is None
        return
    assert note.fast is not None
    assert (note.fast.shard, note.fast.attempts) == (fast["shard"], fast["attempts"])
    assert note.fast.until == _if(str, fast.get("until"))
    command = fast.get("command")
    if not isinstance(command, dict) or not _is_command(command):
        assert note.fast.command is None
        return
    assert note.fast.command == FastCommand(
        action=command["action"], context=command.get("context"), meta=command.get("meta")
    )


def _is_readable(body: Any) -> bool:
    if not isinstance(body, dict):
        return False
    numbers = [body.get("execution_id"), body.get("event_id")]
    texts = [body.get("step"), body.get("server_url")]
    return (
        all(type(one) is int for one in numbers)
        and all(isinstance(one, str) for one in texts)
        and type(body.get("command_id")) in {int, str}
    )


def _is_fast(fast: Any) -> bool:
    return (
        isinstance(fast, dict)
        and type(fast.get("v")) is int
        and fast["v"] == 1
        and all(type(fast.get(name)) is int for name in ("shard", "attempts"))
    )


def _is_command(command: dict[str, Any]) -> bool:
    return isinstance(command.get("action"), str) and {"context", "meta"} <= command.keys()


def _if(kind: type, value: Any) -> Any:
    return value if isinstance(value, kind) else None


def test_a_notification_is_what_was_sent() -> None:
    note = decode_notification(orjson.dumps(_SENT))

    assert decode_notification(encode_notification(note)) == note
    assert orjson.loads(encode_notification(note)).keys() == _SENT.keys() - {"more"}
    with pytest.raises(AttributeError):
        note.step = "another"  # type: ignore[misc]


def test_json_that_is_encoded_already_goes_into_a_notification() -> None:
    carried = FastCommand(action="noop", context=Raw(b'{"n":1.10}'), meta={})
    fast = FastPath(v=1, shard=0, attempts=0, command=carried)
    note = decode_notification(orjson.dumps(_SENT)).but(fast=fast)

    assert b'"context":{"n":1.10}' in encode_notification(note)
