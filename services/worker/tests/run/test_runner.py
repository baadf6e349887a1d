"""Arguments of configurations, and tools whose work goes on after their run."""

from typing import Any

import orjson
import pytest
from lone_runner import NoChannel, run_alone
from noetl_worker.commands import Command, command_of, decode_notification
from noetl_worker.output.outputs import Outputs
from noetl_worker.run.runner import _lift
from noetl_worker.tools.tool import ToolContext, ToolResult
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


class Leaving:
    """A tool whose work goes on after its run, where it may, and prints then."""

    def __init__(self) -> None:
        self.contexts: list[ToolContext] = []

    async def run(self, _config: dict[str, Any], context: ToolContext) -> ToolResult:
        self.contexts.append(context)
        assert context.listener is not None
        context.listener("stdout", b"first\n")
        return ToolResult(data={"job_name": "j"}, pending_callback=context.may_park)


async def run_leaving(tool: Leaving, outputs: Outputs, **context: Any) -> Any:
    command = Command(7, 9, "7:s:9", "s", "", "leaving", {"tool_config": {}, **context})
    return await run_alone(command, outputs, leaving=tool)


async def test_what_goes_on_prints_until_its_tool_says_so() -> None:
    outputs, tool = Outputs(NoChannel()), Leaving()

    outcome = await run_leaving(tool, outputs, output_select=["a"])

    assert outcome.job == {"job_name": "j"}
    (context,) = tool.contexts
    assert context.output_select == ["a"]
    assert list(outputs._printing) == [7]
    assert context.close_output is not None
    await context.close_output()
    assert outputs._printing == {}


async def test_rules_for_another_try_wait_for_the_end() -> None:
    outputs, tool = Outputs(NoChannel()), Leaving()
    rules = {"rules": [{"else": {"then": {"do": "continue"}}}]}

    outcome = await run_leaving(tool, outputs, policy=rules)

    assert outcome.job is None
    assert [one.may_park for one in tool.contexts] == [False]
    assert outputs._printing == {}
