"""Cursor loops: claims, frames, bodies, the drain."""

from typing import Any

import pytest
from engine_driver import Run, make_arc, make_playbook, make_step
from noetl_engine.inputs import Limits
from noetl_engine.playbook.model import Cursor, Frame, Loop, LoopMode, Playbook, Tool

CLAIM = "SELECT * FROM work LIMIT {{ __frame_max_rows }}"


def cursor_loop(max_rows: int | str = 2, row_concurrency: int | str = 2) -> Loop:
    return Loop(
        iterator="row",
        mode=LoopMode.CURSOR,
        cursor=Cursor(claim=CLAIM, auth="{{ pg }}"),
        frame=Frame(max_rows=max_rows, row_concurrency=row_concurrency),
    )


def cursor_playbook(*arcs: Any, loop: Loop | None = None, tool: Any = None, **fields: Any) -> Any:
    return make_playbook(
        make_step("start", "cur"),
        make_step("cur", *(arcs or ("end",)), loop=loop or cursor_loop(), tool=tool, **fields),
        make_step("end"),
        make_step("other"),
    )


def begin(playbook: Playbook | None = None, **options: Any) -> Run:
    return Run(playbook or cursor_playbook(), **options).start().work("start")


def rows(*values: Any) -> dict[str, Any]:
    found = [{"id": value} for value in values]
    return {"columns": ["id"], "rows": found, "row_count": len(found)}


RELOADS = pytest.mark.parametrize("reload", [False, True], ids=["kept", "reloaded"])


def reloading(run: Run, *, reload: bool) -> Run:
    if reload:
        run.reload = lambda _turn: run.take_snapshot() or True
    return run


@RELOADS
def test_two_rows_in_one_frame_write_the_contract_s_log(*, reload: bool) -> None:
    run = reloading(begin(), reload=reload)
    run.work("cur", data=rows(1, 2)).work("cur:i0").work("cur:i1").work("cur", data=rows())
    run.work("end")

    assert run.story == (
        "started I(start) W(start) enter cur I(cur) W(cur) I(cur:i0) I(cur:i1) W(cur:i0) W(cur:i1)"
        " I(cur) W(cur) exit cur enter end I(end) W(end) playbook.completed"
    )
    assert len(run.rows) == 35
    (entered,) = [row for row in run.rows_of("step.enter") if row.node_name == "cur"]
    assert entered.result == {"status": "ENTERED", "context": {"__cursor_loop": True}}
    (left,) = run.rows_of("step.exit")
    assert left.result == {"status": "COMPLETED", "context": {"__cursor_drained": True}}


@RELOADS
def test_the_numbers_of_a_frame_may_be_templates(*, reload: bool) -> None:
    playbook = cursor_playbook(loop=cursor_loop("{{ n }}", "{{ workload.at_once }}"))
    run = reloading(begin(playbook, payload={"n": 3, "at_once": 2}), reload=reload)

    assert run.find("cur").context["tool_config"]["command"].endswith("LIMIT 3")
    run.work("cur", data=rows(1, 2, 3))
    assert len(run.open) == 2


@pytest.mark.parametrize("value", [0, -1, "many", None, 1.5, True])
@pytest.mark.parametrize("name", ["max_rows", "row_concurrency"])
def test_a_number_of_a_frame_that_is_none_ends_the_execution_by_name(name: str, value: Any) -> None:
    loop = cursor_loop(**{name: "{{ n }}"})
    run = begin(cursor_playbook(loop=loop), payload={"n": value})

    assert run.ended == ["FAILED"]
    assert f"{name} is not an integer of at least 1: {{{{ n }}}}" in str(run.rows[-1].error)
    assert "step 'cur'" in str(run.rows[-1].error)


def test_the_claim_carries_the_rendered_query_and_the_raw_alias() -> None:
    run = begin(payload={"pg": "secret_alias"})
    command = run.find("cur")

    assert command.tool_kind == "postgres"
    assert command.context["tool_config"] == {
        "command": "SELECT * FROM work LIMIT 2",
        "auth": "{{ pg }}",
    }
    assert command.context["render_context"]["__frame_max_rows"] == 2
    assert command.meta["cursor"] == {"phase": "claim", "step": "cur", "frame": 0}
    assert command.command_id == f"7000:cur:{command.event_id}"
    assert "iteration_index" not in command.meta


def test_a_body_is_an_iteration_over_the_rows_of_its_frame() -> None:
    run = begin().work("cur", data=rows("a", "b"))
    command = run.find("cur:i1")

    assert command.meta["cursor"] == {"phase": "body", "step": "cur", "frame": 0, "row": 1}
    assert (command.meta["iteration_index"], command.meta["iteration_total"]) == (1, 2)
    assert (command.meta["iterator_step"], command.meta["item_var"]) == ("cur", "row")
    assert command.command_id.endswith(f":{command.event_id}:i1")
    assert command.context["render_context"]["row"] == {"id": "b"}
    assert command.context["tool_config"]["args"]["_total"] == 2


def test_no_more_bodies_are_in_flight_than_row_concurrency() -> None:
    run = begin(cursor_playbook(loop=cursor_loop(max_rows=5, row_concurrency=2)))
    run.work("cur", data=rows(1, 2, 3))

    assert [run.label(command) for command in run.open] == ["cur:i0", "cur:i1"]
    run.work("cur:i1")
    assert [run.label(command) for command in run.open] == ["cur:i0", "cur:i2"]
    run.work("cur:i2")
    assert [run.label(command) for command in run.open] == ["cur:i0"]


def test_the_next_frame_is_claimed_when_all_its_rows_are_done() -> None:
    run = begin(cursor_playbook(loop=cursor_loop(1, 1)))
    for number in range(3):
        command = run.find("cur")
        assert command.meta["cursor"]["frame"] == number
        run.work("cur", data=rows(number)).work("cur:i0")
    run.work("cur", data=rows())

    scope = run.find("end").context["render_context"]
    drained = {"cursor": "drained", "frames": 3}
    assert scope["cur"] == {**drained, "data": drained}


@pytest.mark.parametrize("data", [rows(), None, {"rows": "many"}, {"row_count": 3}, []])
def test_a_claim_without_rows_drains_the_cursor(data: Any) -> None:
    run = begin().work("cur", data=data)

    assert run.story.endswith("W(cur) exit cur enter end I(end)")


def test_a_claim_with_a_soft_error_drains_the_cursor() -> None:
    run = begin()
    command = run.find("cur")
    events = run.outcome_events(command, data=rows(1), status="error")
    run.finish(command, events)

    assert run.log[-3:] == ["exit cur", "enter end", "I(end)"]
    assert run.execution.progress.soft_errors == 1


def test_a_claim_whose_rows_went_to_the_store_fails_by_name() -> None:
    """Draining would lose rows that the query has marked as claimed."""
    run = begin().work("cur", data={"_ref": "noetl://execution/1/result/cur/2"})

    assert run.ended == ["FAILED"]
    assert "lower loop.spec.frame.max_rows" in run.execution.state.error


def test_a_failing_claim_fails_the_step() -> None:
    run = begin().work("cur", fails=True)

    assert run.story.endswith("F(cur) playbook.failed")
    assert run.rows[-1].meta["failed_steps"] == ["cur"]


def test_a_failing_claim_may_be_handled() -> None:
    arcs = (make_arc("other", "event.name == 'call.error'"), make_arc("end"))
    run = begin(cursor_playbook(*arcs)).work("cur", fails=True)

    assert run.story.endswith("F(cur) skip end enter other I(other)")


@RELOADS
def test_a_failing_body_stops_the_frame_and_waits_for_the_others(*, reload: bool) -> None:
    run = reloading(begin(cursor_playbook(loop=cursor_loop(3, 2))), reload=reload)
    run.work("cur", data=rows(1, 2, 3)).work("cur:i0", fails=True).work("cur:i1")

    assert run.story.endswith("I(cur:i0) I(cur:i1) F(cur:i0) W(cur:i1) playbook.failed")


@RELOADS
def test_what_bodies_set_is_there_for_the_next_claim_in_row_order(*, reload: bool) -> None:
    run = reloading(begin(), reload=reload).work("cur", data=rows(1, 2))
    for index in (1, 0):
        run.work(f"cur:i{index}", data={"task": {}, "_context_updates": {"ctx.last": index}})

    assert run.find("cur").context["render_context"]["last"] == 1
    run.work("cur", data=rows())
    assert run.find("end").context["render_context"]["ctx"]["last"] == 1


def test_arc_values_and_legacy_args_reach_every_frame() -> None:
    playbook = make_playbook(
        make_step("start", make_arc("cur", set={"ctx.x": 1}, args={"y": "raw"})),
        make_step("cur", loop=cursor_loop(1, 1)),
    )
    run = begin(playbook)
    for _ in range(2):
        claim = run.find("cur").context["render_context"]
        assert (claim["x"], claim["y"]) == (1, "raw")
        run.work("cur", data=rows(1))
        body = run.find("cur:i0").context["render_context"]
        assert (body["x"], body["y"]) == (1, "raw")
        run.work("cur:i0")


def test_arcs_of_a_cursor_loop_see_loop_done() -> None:
    arcs = (make_arc("end", "event.name == 'loop.done' and output.frames == 0"),)
    run = begin(cursor_playbook(*arcs, set={"ctx.n": "{{ output.frames }}"}))
    run.work("cur", data=rows())

    assert run.story.endswith("exit cur set enter end I(end)")
    assert run.find("end").context["render_context"]["n"] == 0


def test_a_cursor_in_a_cycle_begins_with_frame_0_again() -> None:
    arcs = (make_arc("cur", "(again | default(0)) < 1", set={"again": 1}), make_arc("end"))
    run = begin(cursor_playbook(*arcs, loop=cursor_loop(1, 1)))
    run.work("cur", data=rows(1)).work("cur:i0").work("cur", data=rows())

    assert run.find("cur").meta["cursor"]["frame"] == 0
    run.work("cur", data=rows()).work("end")
    assert run.ended == ["COMPLETED"]


def test_a_large_frame_comes_in_parts() -> None:
    playbook = cursor_playbook(loop=cursor_loop(50, 50))
    run = begin(playbook, limits=Limits(commands_per_decision=20))
    run.work("cur", data=rows(*range(50)))

    assert len(run.open) == 50
    assert max(len(decision.commands) for decision in run.decisions) == 20


def test_a_repeated_end_of_a_claim_issues_nothing_twice() -> None:
    run = begin()
    command = run.find("cur")
    events = run.outcome_events(command, data=rows(1, 2))
    run.finish(command, events)
    run.finish(command, events)
    second = run.outcome_events(command, data=rows(3))
    run.finish(command, second)

    assert [run.label(one) for one in run.open] == ["cur", "cur:i0", "cur:i1"]


def test_nothing_that_is_kept_grows_with_the_frames() -> None:
    tool = Tool(kind="noop", config={})
    run = begin(cursor_playbook(loop=cursor_loop(2, 2), tool=tool))
    sizes = []
    for number in range(200):
        run.work("cur", data=rows(number, number)).work("cur:i0").work("cur:i1")
        sizes.append((len(run.execution.snapshot()), run.execution.memory_size()))

    for measured in zip(*sizes, strict=True):
        assert max(measured[150:]) <= 1.1 * max(measured[50:150])


def test_the_step_can_end_from_outside_between_two_frames() -> None:
    run = begin()
    command = run.find("cur")
    run.work("cur", data=rows(1))
    body = run.find("cur:i0")
    claimed = run.outcome_events(body)
    assert run.work_start(body, claimed[0]).answer.body == {"status": "held"}

    assert run.claim(command, "w2").answer.status == 409
