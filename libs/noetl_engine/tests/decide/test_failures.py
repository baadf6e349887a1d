"""Failures: handled and not, in tools and in decisions (R7, R14)."""

import pytest
from engine_driver import Run, make_arc, make_loop, make_playbook, make_step, posted
from noetl_engine.decide.graph import names_event
from noetl_engine.playbook.model import Tool


@pytest.mark.parametrize(
    ("guard", "names"),
    [
        ("event.name == 'call.error'", True),
        ("{{ event['name'] }}", True),
        ("not event", True),
        ("output.event == 1", False),
        ("'event' in output", False),
        ('output.kind == "an event"', False),
        ("my_event or events", False),
    ],
)
def test_an_error_arc_names_event(guard: str, *, names: bool) -> None:
    assert names_event(guard) is names


def test_a_failure_without_a_matching_error_arc_blocks_what_lies_behind():
    playbook = make_playbook(
        make_step("start", "a"),
        make_step("a", make_arc("x", "event.name == 'something else'"), make_arc("y")),
        make_step("x"),
        make_step("y"),
    )
    run = Run(playbook).start().work("start").work("a", fails=True)

    assert run.story.endswith("F(a) playbook.failed")
    end = run.rows[-1]
    assert end.meta == {
        "status": "FAILED",
        "error": "Failed steps: a",
        "failed_steps": ["a"],
        "cause": {"step": "a", "kind": "tool", "message": "a broke", "position": 12},
    }
    assert end.result == {"status": "FAILED"}
    assert run.decisions[-1].error == end.error == "step 'a' failed: a broke"


def test_a_handled_failure_skips_the_step_s_own_set():
    playbook = make_playbook(
        make_step("start", make_arc("x", "event.name == 'call.error'"), set={"ctx.v": "1"}),
        make_step("x"),
    )
    run = Run(playbook).start().work("start", fails=True).work_all()

    assert run.ended == ["COMPLETED"]
    assert not run.rows_of("ctx.updated")


def test_an_error_arc_sees_the_error():
    playbook = make_playbook(
        make_step(
            "start",
            make_arc("x", "event.name == 'call.error' and output.error == 'start broke'"),
            make_arc("y", "event.name == 'call.error' and output.status == 'error'"),
            mode="inclusive",
        ),
        make_step("x"),
        make_step("y"),
    )
    run = Run(playbook).start().work("start", fails=True)

    assert run.story.endswith("enter x enter y I(x) I(y)")


def test_an_error_arc_can_hand_the_error_on():
    guard = "event.name == 'call.error'"
    playbook = make_playbook(
        make_step("start", make_arc("x", guard, set={"ctx.reason": "{{ output.error }}"})),
        make_step("x", make_arc("y", set={"ctx.other": "{{ output.x }}"})),
        make_step("y"),
    )
    run = Run(playbook).start().work("start", fails=True)

    assert run.find("x").context["render_context"]["reason"] == "start broke"
    run.work("x", data={"x": 1})
    assert run.find("y").context["render_context"]["other"] is None


def test_failed_steps_are_listed_in_order_of_failure():
    playbook = make_playbook(
        make_step("start", "a", "b", mode="inclusive"), make_step("a"), make_step("b")
    )
    run = Run(playbook).start().work("start").work("b", fails=True).work("a", fails=True)

    assert run.rows[-1].meta["error"] == "Failed steps: b, a"
    assert run.execution.progress.failed_steps == 2


def test_a_soft_error_goes_on_and_is_counted():
    run = Run(make_playbook(make_step("start", "a"), make_step("a"))).start()
    command = run.find("start")
    run.open.remove(command)
    run.finish(command, run.outcome_events(command, status="error"))
    run.work_all()

    assert run.ended == ["COMPLETED"]
    assert run.execution.progress.soft_errors == 1


def test_an_evaluate_error_keeps_the_trigger_s_rows_and_nothing_else():
    playbook = make_playbook(
        make_step("start", make_arc("a"), make_arc("b", "{{ 1 + missing }}"), mode="inclusive",
                  set={"ctx.x": "1"}),
        make_step("a"),
        make_step("b"),
    )  # fmt: skip
    run = Run(playbook).start().work("start")
    types = [row.event_type for row in run.rows]
    end = run.rows[-1]

    assert types[-3:] == ["call.done", "command.completed", "playbook.failed"]
    assert end.meta["emitted_by"] == "orchestrator"
    assert end.meta["reason"] == "evaluate_error"
    error = end.result["context"]["error"]
    assert error.startswith("Orchestrator evaluate failed: ")
    assert end.parent_event_id == run.rows[-2].event_id
    assert [change.status for change in run.decisions[-1].changes] == ["COMPLETED"]
    assert run.restore().snapshot() == run.execution.snapshot()


def test_a_command_that_does_not_render_fails_the_execution():
    broken = Tool(kind="http", config={"url": "{{ 1 + missing }}"})
    playbook = make_playbook(make_step("start", "a"), make_step("a", tool=broken))
    run = Run(playbook).start().work("start")

    assert run.story.endswith("W(start) playbook.failed")


def test_a_raising_guard_fails_the_execution():
    playbook = make_playbook(make_step("start", "a"), make_step("a", when="{{ 1 + missing }}"))

    assert Run(playbook).start().work("start").ended == ["FAILED"]


def test_earlier_decisions_of_a_batch_stay():
    playbook = make_playbook(
        make_step("start", "a", "b", mode="inclusive"),
        make_step("a", "c"),
        make_step("b", make_arc("d", "{{ 1 + missing }}")),
        make_step("c"),
        make_step("d"),
    )
    run = Run(playbook).start().work("start")
    events = [event for name in ("a", "b") for event in run.outcome_events(run.find(name))]
    run.decide(posted(tuple(events)))

    assert [row.node_name for row in run.rows_of("step.enter")] == ["a", "b", "c"]
    assert run.ended == ["FAILED"]


def test_progress_counts_steps():
    playbook = make_playbook(
        make_step("start", "a", "lp", mode="inclusive"),
        make_step("a"),
        make_step("lp", loop=make_loop([1, 2], "parallel")),
    )
    run = Run(playbook).start()
    progress = run.execution.progress
    assert (progress.total_steps, progress.running_steps, progress.completed_steps) == (1, 1, 0)
    assert progress.current_step == "start"

    run.work("start").work("a").work("lp:i0")
    assert (progress.total_steps, progress.running_steps, progress.completed_steps) == (3, 1, 2)

    run.work("lp:i1")
    assert (progress.total_steps, progress.running_steps, progress.completed_steps) == (3, 0, 3)
