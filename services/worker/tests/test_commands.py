"""Notifications and claims, decoded."""

import re
from typing import Any

import orjson
import pytest
from noetl_worker.commands import (
    UndecodableNotification,
    command_of,
    decode_claim,
    decode_notification,
    fresh_until,
)
from worker_control_plane import granted, make_command, make_notification


def test_the_notification_of_the_reference_decodes() -> None:
    note = decode_notification(
        b'{"execution_id":482217234567890123,"event_id":482217234567890456,'
        b'"command_id":482217234567890,"step":"start","server_url":"http://s:8082","new":1}'
    )

    assert (note.execution_id, note.event_id) == (482217234567890123, 482217234567890456)
    assert note.command_id == "482217234567890"
    assert note.fast is None


def test_the_command_inside_a_notification() -> None:
    body = make_notification(5, command=make_command("python", config={"code": ""}), attempts=0)
    body["fast"]["until"] = "2026-06-14T10:15:59Z"

    note = decode_notification(orjson.dumps(body))
    command = command_of(note)

    assert note.fast is not None
    assert fresh_until(note.fast) == 1781432159.0
    assert command is not None
    assert (
        command.action,
        command.context["tool_config"],
        command.attempts,
    ) == ("python", {"code": ""}, 0)


@pytest.mark.parametrize("until", ["nonsense", None, 5])
def test_an_illegible_until_means_claim(until: Any) -> None:
    body = make_notification(5, command=make_command())
    body["fast"]["until"] = until

    note = decode_notification(orjson.dumps(body))

    assert note.fast is not None
    assert fresh_until(note.fast) == 0.0


def test_a_claim_without_a_command_id_gets_one() -> None:
    note = decode_notification(orjson.dumps(make_notification(5)))
    body = granted(make_notification(5), make_command()) | {"meta": {"attempts": 2}, "fast": None}

    command = decode_claim(body, note)

    assert (command.command_id, command.attempts) == ("7:start:unknown", 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("command_id", None), ("command_id", True), ("step", 5), ("server_url", None),
        ("execution_id", "7"), ("execution_id", 7.0), ("event_id", True),
    ],
)  # fmt: skip
def test_a_field_of_another_type_is_refused_by_name(name: str, value: Any) -> None:
    body = make_notification(5) | {name: value}

    with pytest.raises(UndecodableNotification, match=re.escape(f"`$.{name}`")):
        decode_notification(orjson.dumps(body))


@pytest.mark.parametrize("data", [b"", b"[]", b"5", b'{"execution_id": 7'])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(UndecodableNotification):
        decode_notification(data)


@pytest.mark.parametrize(
    "fast", [None, [], {"v": 2, "shard": 0, "attempts": 0}, {"v": 1}, {"v": 1, "shard": "0"}]
)
def test_a_fast_part_of_another_version_or_shape_is_none(fast: Any) -> None:
    note = decode_notification(orjson.dumps(make_notification(5) | {"fast": fast, "trace": 5}))

    assert (note.fast, note.trace) == (None, None)


@pytest.mark.parametrize("command", [5, {}, {"action": 5}])
def test_an_unreadable_command_is_claimed(command: Any) -> None:
    note = decode_notification(orjson.dumps(make_notification(5, command=command)))

    assert note.fast is not None
    assert command_of(note) is None
