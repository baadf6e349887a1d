"""What is lifted from a configuration."""

from typing import Any

import orjson
import pytest
from noetl_worker.commands import command_of, decode_notification
from noetl_worker.run.runner import _lift
from worker_control_plane import make_command, make_notification


@pytest.mark.parametrize(
    ("tool_config", "args", "expected"),
    [
        ({"code": ""}, {"a": 1}, {"code": "", "args": {"a": 1}, "kind": "python"}),
        ({"code": ""}, {}, {"code": "", "kind": "python"}),
        ({"code": "", "args": {}}, {"a": 1}, {"code": "", "args": {}, "kind": "python"}),
        (None, {}, {"kind": "python"}),
        ([1], {}, {"kind": "python"}),
    ],
)
def test_step_level_arguments_are_inserted_only_where_they_help(
    tool_config: Any, args: dict[str, Any], expected: dict[str, Any]
) -> None:
    command = make_command("python", args=args)
    command["context"]["tool_config"] = tool_config
    note = decode_notification(orjson.dumps(make_notification(1, command=command)))
    decoded = command_of(note)
    assert decoded is not None

    assert expected == _lift(decoded).config


def test_containers_get_no_arguments() -> None:
    command = make_command("container", config={"image": "x"}, args={"a": 1})
    note = decode_notification(orjson.dumps(make_notification(1, command=command)))
    decoded = command_of(note)
    assert decoded is not None

    assert "args" not in _lift(decoded).config
