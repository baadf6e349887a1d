"""A fan-out of branches larger than one decision may issue comes in parts (W9)."""

from typing import Any

import pytest
from engine_driver import Run, cancel, make_arc, make_loop, make_playbook, make_step
from noetl_engine.inputs import Continued, Limits
from noetl_engine.playbook.model import Cursor, Loop, LoopMode, Tool

SEEN = Tool(kind="noop", config={"x": "{{ x | default('none') }}", "args": "{{ y | default(0) }}"})
RELOADS = pytest.mark.parametrize("reload", [False, True], ids=["kept", "reloaded"])


def fan(count: int, tool: Tool = SEEN, **fields: Any) -> Any:
    names = [f"b{index}" for index in range(count)]
    arcs = [
        make_arc(name, set={"ctx.x": index}, args={"y": index}) for index, name in enumerate(names)
    ]
    return make_playbook(
        make_step("start", *arcs, mode="inclusive"),
        *(make_step(name, "join", tool=tool, **fields) for name in names),
        make_step("join"),
    )


def begin(playbook: Any, *, reload: bool = False, commands: int = 4) -> Run:
    run = Run(playbook, limits=Limits(commands_per_decision=commands)).start()
    if reload:
        run.reload = lambda _turn: run.take_snapshot() or True
    return run.work("start")


@RELOADS
def test_the_branches_are_entered_at_once_and_issued_in_parts(*, reload: bool) -> None:
    run = begin(fan(10), reload=reload)

    entered = " ".join(f"enter b{index}" for index in range(10))
    issued = " ".join(f"I(b{index})" for index in range(10))
    assert run.story.endswith(f"{entered} {issued}")
    assert [len(decision.commands) for decision in run.decisions[-3:]] == [4, 4, 2]
    run.work_all()
    assert run.story.endswith("W(b9) enter join I(join) W(join) playbook.completed")


@RELOADS
def test_each_branch_sees_what_its_arc_brought(*, reload: bool) -> None:
    run = begin(fan(10), reload=reload)

    found = [command.context["tool_config"] for command in run.open]
    assert [(config["x"], config["args"]) for config in found] == [(n, n) for n in range(10)]


def test_the_log_is_the_same_as_of_one_decision() -> None:
    small, large = (begin(fan(9), commands=number).work_all() for number in (2, 200))

    assert small.story == large.story
    assert len(small.rows) == len(large.rows)


def test_a_cancel_in_between_leaves_the_rest_unissued() -> None:
    run = Run(fan(10), limits=Limits(commands_per_decision=4), goes_on=False).start()
    run.work("start")
    assert run.decisions[-1].continue_later
    run.decide(cancel())

    assert not run.decide(Continued()).events
    assert run.execution.status == "CANCELLED"


def test_a_part_that_does_not_render_ends_the_execution_with_nothing_else() -> None:
    bad = Tool(kind="noop", config={"x": "{{ 1 + nothing if x > 5 else 1 }}"})
    run = begin(fan(10, bad))

    assert run.ended == ["FAILED"]
    assert run.story.endswith("I(b3) playbook.failed")


@RELOADS
def test_loops_and_cursors_among_the_branches_come_in_parts_too(*, reload: bool) -> None:
    cursor = Loop(iterator="row", mode=LoopMode.CURSOR, cursor=Cursor(claim="SELECT {{ x }}"))
    steps = [
        make_step("p0"),
        make_step("p1"),
        make_step("c", loop=cursor),
        make_step("lp", loop=make_loop([1, 2, 3], "parallel")),
    ]
    arcs = [make_arc(step.name, set={"x": step.name}) for step in steps]
    run = begin(
        make_playbook(make_step("start", *arcs, mode="inclusive"), *steps),
        reload=reload,
        commands=2,
    )

    assert run.find("c").context["tool_config"]["command"] == "SELECT c"
    assert sorted(run.label(command) for command in run.open) == [
        "c", "lp:i0", "lp:i1", "lp:i2", "p0", "p1",
    ]  # fmt: skip
    run.work_all(data={"rows": []})
    assert run.ended == ["COMPLETED"]
