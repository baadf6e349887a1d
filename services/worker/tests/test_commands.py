"""Notifications and claims, decoded."""

from typing import Any

import orjson
import pytest
from noetl_worker.commands import command_of, decode_claim, decode_notification
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
    assert note.fast.until == 1781432159.0
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
    assert note.fast.until == 0.0


def test_a_claim_without_a_command_id_gets_one() -> None:
    note = decode_notification(orjson.dumps(make_notification(5)))
    body = granted(make_notification(5), make_command()) | {"meta": {"attempts": 2}, "fast": None}

    command = decode_claim(body, note)

    assert (command.command_id, command.attempts) == ("7:start:unknown", 2)
