"""A tool that can't begin here is another worker's, as long as nothing of its command has begun."""

from typing import Any

import pytest
from lone_runner import run_alone
from noetl_worker.commands import Command
from noetl_worker.run.policy import PolicyLimits
from noetl_worker.run.reports import Outcome, Reporter
from noetl_worker.run.task_sequence import TaskSequence
from noetl_worker.tools.errors import NeverBegan
from noetl_worker.tools.tool import ToolContext, ToolError, ToolResult

CONTINUE = {"rules": [{"else": {"then": {"do": "continue"}}}]}
RETRY = {"max_attempts": 2, "initial_delay": 0}


class Stuck:
    """A tool that can't begin, but for a number of runs that go wrong."""

    def __init__(self, *, wrong: int = 0) -> None:
        self.wrong = wrong
        self.runs = 0

    async def run(self, _config: dict[str, Any], context: ToolContext) -> ToolResult:
        self.runs += 1
        if self.runs <= self.wrong:
            return ToolResult(status="error", error="wrong")
        raise (NeverBegan if context.may_move else ToolError)("Process error", "no memory")


class Fine:
    async def run(self, _config: dict[str, Any], _context: ToolContext) -> ToolResult:
        return ToolResult(data=1)


async def run(
    action: str,
    config: Any,
    *,
    tool: Stuck | None = None,
    attempts: int = 0,
    may_move: bool = True,
    meta: dict[str, Any] | None = None,
    **context: Any,
) -> Outcome:
    command = Command(
        7, 9, "7:s:9", "s", "", action, {"tool_config": config, **context}, meta or {}, attempts
    )
    command.may_move = may_move
    sequence = TaskSequence(PolicyLimits())
    return await run_alone(command, stuck=tool or Stuck(), fine=Fine(), task_sequence=sequence)


async def test_what_never_began_is_said_to_have_not() -> None:
    outcome = await run("stuck", {})

    assert (outcome.error, outcome.never_began) == ("Process error: no memory", True)
    command = Command(7, 9, "7:s:9", "s", "", "stuck", {})
    _, failed = Reporter(worker_id="w", next_id=lambda: 1).ended(command, outcome)
    assert failed.meta == {"attempts": 0, "never_began": True}


async def test_so_is_the_first_task_of_a_pipeline_and_a_repeated_try() -> None:
    tool = Stuck()

    assert (await run("task_sequence", [{"a": {"kind": "stuck"}}])).never_began
    assert (await run("stuck", {"retry": RETRY}, tool=tool)).never_began
    assert tool.runs == 2


@pytest.mark.parametrize(
    "how",
    [
        {"may_move": False},
        {"attempts": 4},
        {"meta": {"repeatable": False}},
        {"action": "task_sequence", "config": [{"a": {"kind": "fine"}}, {"b": {"kind": "stuck"}}]},
        {"tool": Stuck(wrong=1), "config": {"retry": RETRY}},
        {
            "action": "task_sequence",
            "tool": Stuck(wrong=1),
            "config": [{"a": {"kind": "stuck", "retry": RETRY}}],
        },
    ],
    ids=["another transport", "three workers tried", "once", "second task", "second try", "both"],
)
async def test_it_fails_where_another_run_would_be_one_too_many(how: dict[str, Any]) -> None:
    outcome = await run(**{"action": "stuck", "config": {}, **how})

    assert outcome.error is not None
    assert not outcome.never_began


async def test_a_rule_that_goes_on_whatever_happens_goes_on() -> None:
    outcome = await run("stuck", {}, policy=CONTINUE)

    assert (outcome.error, outcome.is_handled) == (None, True)
