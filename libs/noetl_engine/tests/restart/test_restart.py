"""A restarted execution has the results of its origin, and runs the rest."""

from dataclasses import replace
from typing import Any

import pytest
from engine_driver import Run, finalize, make_arc, make_loop, make_playbook, make_step
from noetl_contract.ingress import SignalMessage
from noetl_engine.errors import StartRefused
from noetl_engine.execution import Execution
from noetl_engine.playbook.model import Tool

LINE = make_playbook(
    make_step("start", "a"),
    make_step("a", "b", set={"ctx.seen": "{{ output.n }}"}),
    make_step("b", "c"),
    make_step("c"),
    workload={"x": 1},
)

WAIT = Tool(kind="wait", config={"signal": "go"})


def issued(run: Run) -> list[str]:
    """Return the labels of the commands given to workers, by the commands' rows."""
    return [run.label(command) for decision in run.decisions for command in decision.commands]


def data_of(run: Run, step: str) -> Any:
    """A step's result, without the copy of itself."""
    data = run.execution._memory.contexts.output_of(step)
    if isinstance(data, dict):
        return {key: value for key, value in data.items() if key != "data"}
    return data


def test_only_the_failed_step_and_what_is_behind_it_run() -> None:
    origin = Run(LINE).start().work_all(data={"n": 5}, fails={"b"})
    assert origin.ended == ["FAILED"]

    again = origin.restart()
    assert issued(again) == ["b"]
    assert again.find("b").context["render_context"]["seen"] == 5
    assert again.find("b").context["render_context"]["steps"].keys() == {"start", "a"}

    again.work_all(data={"n": 6})
    assert again.ended == ["COMPLETED"]
    assert issued(again) == ["b", "c"]
    assert data_of(again, "a") == {"n": 5}
    assert data_of(again, "c") == {"n": 6}


def test_the_first_row_names_origin_and_position() -> None:
    origin = Run(LINE).start().work_all(data={"n": 5}, fails={"b"})
    again = origin.restart(input={"x": 2})

    first = again.rows[0]
    assert first.event_type == "playbook_started"
    assert first.meta["restart"] == {
        "execution_id": "7000",
        "position": len(origin.rows),
        "status": "FAILED",
        "from_steps": ["b"],
        "input": ["x"],
    }
    (over,) = again.rows_of("execution.restored")
    assert over.result["context"] == {
        "origin_execution_id": "7000",
        "taken_over": 2,
        "again": ["b"],
    }
    copied = again.rows_of("call.done")
    assert [row.meta["restored_from"]["execution_id"] for row in copied] == ["7000", "7000"]


def test_a_changed_workload_counts_for_what_is_ahead() -> None:
    origin = Run(LINE).start().work_all(data={"n": 5}, fails={"b"})
    again = origin.restart(input={"x": 2, "seen": 9})

    scope = again.find("b").context["render_context"]
    assert scope["x"] == 2
    assert scope["workload"]["x"] == 2
    assert scope["seen"] == 9, "a variable of the name doesn't hide what was asked for"


def test_an_earlier_step_runs_again_with_all_that_followed_from_it() -> None:
    origin = Run(LINE).start().work_all(data={"n": 5}, fails={"c"})
    again = origin.restart(from_step="a")

    assert issued(again) == ["a"]
    assert "seen" not in again.execution.state.variables
    again.work_all(data={"n": 7})
    assert issued(again) == ["a", "b", "c"]
    assert again.ended == ["COMPLETED"]


def test_the_start_itself_can_run_again() -> None:
    origin = Run(LINE).start().work_all(data={"n": 5})
    again = origin.restart(from_step="start")

    assert issued(again) == ["start"]
    again.work_all(data={"n": 7})
    assert issued(again) == ["start", "a", "b", "c"]


LOOP = make_playbook(
    make_step("start", "each"),
    make_step("each", "end", loop=make_loop("[10, 20, 30, 40]", mode="parallel")),
    make_step("end"),
)


def test_the_good_iterations_keep_their_results() -> None:
    origin = Run(LOOP).start().work_all(data={"n": 1}, fails={"each:i1", "each:i3"})
    again = origin.restart()

    assert issued(again) == ["each:i1", "each:i3"]
    again.work_all(data={"n": 2})
    assert issued(again) == ["each:i1", "each:i3", "end"]
    assert [entry["data"]["n"] for entry in data_of(again, "each")] == [1, 2, 1, 2]


def test_iterations_can_be_named() -> None:
    origin = Run(LOOP).start().work_all(data={"n": 1})
    again = origin.restart(from_step="each", iterations=[2])

    assert issued(again) == ["each:i2"]
    again.work_all(data={"n": 2})
    assert [entry["data"]["n"] for entry in data_of(again, "each")] == [1, 1, 2, 1]


def test_a_named_loop_without_iterations_runs_whole() -> None:
    origin = Run(LOOP).start().work_all(data={"n": 1}, fails={"each:i1"})
    again = origin.restart(from_step="each")

    assert issued(again) == ["each:i0", "each:i1", "each:i2", "each:i3"]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_bounded_loop_goes_on_where_it_stopped(limit: int) -> None:
    loop = make_loop("[1, 2, 3, 4, 5, 6]", mode="parallel", max_in_flight=limit)
    playbook = make_playbook(make_step("start", "end", loop=loop), make_step("end"))
    origin = Run(playbook).start().work_all(data={"n": 1}, fails={"start:i2"})
    done = {label for label in issued(origin) if label != "start:i2"}

    again = origin.restart()
    assert len(again.open) <= limit
    again.work_all(data={"n": 2})
    assert again.ended == ["COMPLETED"]
    assert set(issued(again)) == {f"start:i{index}" for index in range(6)} - done | {"end"}
    assert len(data_of(again, "start")) == 6


def test_a_parallel_branch_that_ended_after_the_failure_counts() -> None:
    """Its arc to the join was blocked by the failure, and is taken now."""
    playbook = make_playbook(
        make_step("start", "a", "b", mode="inclusive"),
        make_step("a", "join"),
        make_step("b", make_arc("join", set={"ctx.from_b": 1})),
        make_step("join"),
    )
    origin = Run(playbook).start().work("start").work("a", fails=True).work("b", data={"n": 3})
    assert origin.ended == ["FAILED"]
    assert "from_b" not in origin.execution.state.variables

    again = origin.restart()
    assert issued(again) == ["a"]
    again.work_all()
    assert issued(again) == ["a", "join"]
    assert "from_b" in again.execution.state.variables


def test_a_soft_error_that_fails_its_step_runs_again() -> None:
    playbook = replace(LOOP, fails_softly=True)
    origin = Run(playbook).start().work("start")
    for label, status in (("each:i0", "success"), ("each:i1", "error"), ("each:i2", "success")):
        command = origin.find(label)
        origin.open.remove(command)
        origin.finish(command, origin.outcome_events(command, data={"n": 1}, status=status))
    command = origin.find("each:i3")
    origin.finish(command, origin.outcome_events(command, data={"n": 1}))
    assert origin.ended == ["FAILED"]

    again = origin.restart()
    assert issued(again) == ["each:i1"]
    again.work_all(data={"n": 2})
    assert again.ended == ["COMPLETED"]


def test_a_handled_failure_is_taken_over() -> None:
    playbook = make_playbook(
        make_step("start", make_arc("care", "{{ event.name == 'call.error' }}")),
        make_step("care", "end"),
        make_step("end"),
    )
    origin = Run(playbook).start().work_all(fails={"start", "end"})
    again = origin.restart()

    assert issued(again) == ["end"]


def test_a_cancelled_execution_goes_on() -> None:
    origin = Run(LINE).start().work("start", data={"n": 1}).work("a", data={"n": 2})
    origin.decide(finalize("FAILED", "given up"))
    again = origin.restart()

    assert issued(again) == ["b"]


def test_a_decision_that_failed_is_made_with_what_is_changed() -> None:
    playbook = make_playbook(
        make_step("start", "each"),
        make_step(
            "each",
            loop=make_loop("[1, 2]", mode="parallel", max_in_flight="{{ workload.at_once }}"),
        ),
        workload={"at_once": 0},
    )
    origin = Run(playbook).start().work_all(data={"n": 1})
    assert origin.ended == ["FAILED"]

    again = origin.restart(input={"at_once": 2})
    assert not again.ended
    again.work_all(data={"n": 1})
    assert again.ended == ["COMPLETED"]
    assert len(data_of(again, "each")) == 2


def test_a_restart_can_be_restarted() -> None:
    origin = Run(LINE).start().work_all(data={"n": 5}, fails={"b"})
    second = origin.restart(input={"x": 2})
    second.work("b", data={"n": 6}).work("c", fails=True)
    third = second.restart()

    assert issued(third) == ["c"]
    scope = third.find("c").context["render_context"]
    assert scope["x"] == 2
    assert scope["a"]["n"] == 5
    assert scope["b"]["n"] == 6


def test_a_newer_version_may_add_steps() -> None:
    origin = Run(LINE).start().work_all(data={"n": 5}, fails={"b"})
    newer = make_playbook(
        make_step("start", "a"),
        make_step("a", "b"),
        make_step("b", "between"),
        make_step("between", "c"),
        make_step("c"),
    )
    again = origin.restart(newer, version=4)
    again.work_all()

    assert issued(again) == ["b", "between", "c"]
    assert again.rows[0].meta["restart"]["version"] == {"of_origin": 3, "now": 4}


def test_a_version_without_a_step_that_is_done_is_refused() -> None:
    origin = Run(LINE).start().work_all(data={"n": 5}, fails={"b"})
    newer = make_playbook(make_step("start", "b"), make_step("b"))

    with pytest.raises(StartRefused, match=r"doesn't fit.*step 'a' is gone") as refused:
        origin.restart(newer, version=4)
    assert refused.value.status == 422


def test_what_can_not_be_restarted_is_refused() -> None:
    running = Run(LINE).start()
    done = Run(LINE).start().work_all(data={"n": 1})
    failed = Run(LINE).start().work_all(data={"n": 1}, fails={"a"})
    for run, how, status, text in (
        (running, {}, 409, "still runs"),
        (done, {}, 409, "no failed step"),
        (done, {"from_step": "nope"}, 422, "no step 'nope'"),
        (failed, {"from_step": "c"}, 409, "'c' has not run"),
        (failed, {"iterations": [1]}, 422, "needs `from_step`"),
        (done, {"from_step": "a", "iterations": [1]}, 422, "'a' has no iterations"),
    ):
        with pytest.raises(StartRefused, match=text) as refused:
            run.restart(**how)
        assert refused.value.status == status


def test_it_goes_on_after_a_crash_in_the_middle() -> None:
    loop = make_loop(list(range(40)), mode="parallel")
    playbook = make_playbook(
        make_step("start", "each"), make_step("each", "end", loop=loop), make_step("end")
    )
    origin = Run(playbook).start().work_all(data={"n": 1}, fails={"each:i17"})
    calm = origin.restart()

    origin.reload = lambda _turn: True
    again = origin.restart()
    assert issued(again) == issued(calm) == ["each:i17"]
    assert again.log == calm.log
    whole = Execution.restore(again.execution.state.execution_id, None, again.rows)
    assert whole.snapshot() == again.execution.snapshot()


def test_a_snapshot_keeps_what_is_left_to_take_over() -> None:
    origin = Run(LOOP).start().work_all(data={"n": 1}, fails={"each:i1"})
    again = origin.restart()
    (begun,) = [row for row in again.rows if row.event_type == "playbook_started"]
    early = Execution.restore(7000, None, [begun])

    assert early.state.take_over is not None
    back = Execution.restore(7000, early.snapshot(), ())
    assert back.state.take_over == early.state.take_over


@pytest.mark.parametrize("reload", [False, True])
def test_signals_that_nothing_had_waited_for_are_kept(*, reload: bool) -> None:
    playbook = make_playbook(
        make_step("start", "first"),
        make_step("first", "work", tool=WAIT),
        make_step("work", "second"),
        make_step("second", "end", tool=WAIT),
        make_step("end"),
    )
    origin = Run(playbook).start()
    for number in (1, 2):
        message = SignalMessage(
            execution_id=7000, name="go", payload={"n": number}, signal_id=f"s{number}"
        )
        origin.decide(message)
    origin.work("start").work("work", fails=True)
    assert [kept.name for kept in origin.execution.state.signals] == ["go"]

    origin.reload = lambda _turn: reload
    again = origin.restart()
    assert issued(again) == ["work"]
    (kept,) = again.rows_of("signal.received")
    assert kept.result["context"]["signal_id"] == "s2"
    assert kept.meta["restored_from"]["execution_id"] == "7000"
    again.work("work")
    assert issued(again) == ["work", "end"], "the second wait took it at once"
    assert data_of(again, "second")["payload"] == {"n": 2}
    assert again.execution.state.signals == []


def given(run: Run, label: str) -> Any:
    """Return the context of a command, and its tool's own input."""
    command = run.find(label)
    return command.context["render_context"], command.context["tool_config"].get("args")


INPUTS = make_playbook(
    make_step("start", make_arc("load", set={"ctx.url": "old"})),
    make_step("load", "next", input={"url": "{{ workload.place }}", "n": "{{ ctx.url }}"}),
    make_step("next", input={"url": "{{ workload.place }}"}),
    workload={"place": "here"},
)


@pytest.mark.parametrize("reload", [False, True])
@pytest.mark.parametrize("how", [{}, {"from_step": "load"}])
def test_the_input_is_that_of_the_restarted_step(how: Any, *, reload: bool) -> None:
    """It is in place of variables, of values from arcs, and of the step's own input."""
    origin = Run(INPUTS).start().work_all(data={"n": 5}, fails={"load"})
    origin.reload = lambda _turn: reload
    again = origin.restart(input={"url": "new"}, **how)
    if reload:
        again.take_snapshot()

    scope, args = given(again, "load")
    assert scope["url"] == "new"
    assert args["url"] == "new"
    again.work("load")
    scope, args = given(again, "next")
    assert args["url"] == "here", "another step has its own"
    assert scope["workload"] == {"place": "here", "url": "new"}


def test_the_input_of_an_iteration_is_its_element_too() -> None:
    loop = make_loop("[10, 20, 30, 40]", mode="parallel", max_in_flight=1)
    playbook = make_playbook(
        make_step("start", "each"), make_step("each", "end", loop=loop), make_step("end")
    )
    origin = Run(playbook).start().work("start").work("each:i0").work("each:i1", fails=True)
    again = origin.restart(from_step="each", iterations=[0], input={"item": 99})

    seen = []
    while again.open[0].step == "each":
        scope, _ = given(again, label := again.label(again.open[0]))
        seen.append((label, scope["item"], scope["iter"]["item"]))
        again.work(label)
    assert seen == [
        ("each:i0", 99, 99), ("each:i1", 20, 20), ("each:i2", 30, 30), ("each:i3", 40, 40),
    ]  # fmt: skip


def test_a_loop_that_runs_again_as_a_whole_goes_over_its_input() -> None:
    loop = make_loop("{{ workload.items }}", mode="parallel")
    playbook = make_playbook(
        make_step("start", "each"),
        make_step("each", "end", loop=loop),
        make_step("end"),
        workload={"items": [1, 2]},
    )
    origin = Run(playbook).start().work_all(data={"n": 1})
    again = origin.restart(from_step="each", input={"items": [1, 2, 3]})

    assert issued(again) == ["each:i0", "each:i1", "each:i2"]


def test_a_later_visit_has_no_input() -> None:
    playbook = make_playbook(
        make_step("start", "again"),
        make_step("again", make_arc("start", "{{ again.n < 2 }}"), make_arc("end")),
        make_step("end"),
    )
    origin = Run(playbook).start().work_all(data={"n": 0}, fails={"again"})
    again = origin.restart(input={"x": 1})
    assert again.execution._memory.given_to("again") == {"x": 1}

    again.work("again", data={"n": 1}).work("start", data={"n": 1})
    assert again.execution._memory.given_to("again") == {}
