"""Known defects of the original server, one by one, and our behaviour instead.

The numbers in the names are those of a list of the original server's defects. Two of them are
tested in the orchestrator: decisions without lock and transaction (W1, W2), and errors that are
only logged.
"""

from typing import Any

import pytest
from engine_driver import (
    Run,
    cancel,
    command_outcome,
    make_arc,
    make_loop,
    make_playbook,
    make_step,
)
from noetl_engine.errors import StartRefused
from noetl_engine.execution import Execution
from noetl_engine.inputs import Limits
from noetl_engine.playbook import parse_playbook
from noetl_engine.playbook.model import Cursor, Loop, LoopMode, Tool

START = "started I(start) W(start)"
DONE = "playbook.completed"
PARALLEL = make_loop([1, 2], "parallel")


def enter(name: str) -> str:
    return f"enter {name} I({name}) W({name})"


def played(*steps: Any, data: Any = None, fails: Any = (), **options: Any) -> str:
    run = Run(make_playbook(*steps), **options).start().work_all(data=data, fails=fails)
    assert len(run.ended) == 1, run.story
    return run.story


def counting(step: str) -> Any:
    """Data for each run of a step: how often it has run."""
    runs = 0

    def data(command: Any) -> Any:
        nonlocal runs
        runs += command.step == step
        return {"n": runs}

    return data


@pytest.mark.parametrize("taken", ["true", "false"])
def test_d1_a_sibling_with_another_live_path_is_not_skipped(taken: str) -> None:
    story = played(
        make_step("start", make_arc("opt", taken), make_arc("fin")),
        make_step("opt", "fin"),
        make_step("fin"),
    )

    before = enter("opt") if taken == "true" else "skip opt"
    assert story == f"{START} {before} {enter('fin')} {DONE}"


def test_d1_a_target_that_a_later_arc_selects_is_not_skipped() -> None:
    story = played(make_step("start", make_arc("x", "false"), make_arc("x")), make_step("x"))

    assert story == f"{START} {enter('x')} {DONE}"


@pytest.mark.parametrize("join", ["j", "end"])
def test_d2_a_join_does_not_wait_for_a_dead_branch(join: str) -> None:
    story = played(
        make_step("start", make_arc("a", "false"), make_arc("b")),
        make_step("a", "c"),
        make_step("c", join),
        make_step("b", join),
        make_step(join),
    )

    assert story == f"{START} skip a {enter('b')} {enter(join)} {DONE}"


@pytest.mark.parametrize("following", ["{}", "[]", "{arcs: []}", "[{step: x, when: 'false'}]"])
def test_d3_a_branch_without_a_taken_arc_ends(following: str) -> None:
    text = (
        "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: p}\nworkflow:\n"
        f"  - {{step: start, tool: {{kind: noop}}, next: {following}}}\n"
        "  - {step: x, tool: {kind: noop}}\n"
    )
    run = Run(parse_playbook(text)).start().work_all()

    assert run.ended == ["COMPLETED"]


def test_d3_a_guarded_off_last_step_ends_its_branch() -> None:
    story = played(make_step("start", "a"), make_step("a", when="false"))

    assert story == f"{START} skip a {DONE}"


def test_d4_an_empty_loop_is_left_at_once() -> None:
    empty = make_loop([])
    story = played(make_step("start", "lp"), make_step("lp", "end", loop=empty), make_step("end"))

    assert story == f"{START} enter lp{{0}} exit lp {enter('end')} {DONE}"


def test_d4_an_empty_looped_start_is_left_at_once() -> None:
    story = played(make_step("start", "end", loop=make_loop([])), make_step("end"))

    assert story == f"started enter start{{0}} exit start {enter('end')} {DONE}"


def test_d5_a_step_may_lead_to_itself() -> None:
    story = played(
        make_step("start", "a"),
        make_step("a", make_arc("a", "output.n < 3"), make_arc("b")),
        make_step("b"),
        data=counting("a"),
    )

    assert story == f"{START} {enter('a')} {enter('a')} {enter('a')} {enter('b')} {DONE}"


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_d6_a_loop_in_a_cycle_counts_anew(mode: str) -> None:
    run = Run(
        make_playbook(
            make_step("start", "lp"),
            make_step("lp", "g", loop=make_loop(["a", "b"], mode)),
            make_step("g", make_arc("lp", "output.n < 2"), make_arc("end")),
            make_step("end", tool=Tool(kind="noop", config={"seen": "{{ lp }}"})),
        )
    ).start()
    run.work_all(data=counting("g"))

    assert [run.story.count(f"W(lp:i{index})") for index in (0, 1)] == [2, 2]
    assert run.story.count("W(g)") == 2
    last = next(command for command in run.issued.values() if command.step == "end")
    assert len(last.context["tool_config"]["seen"]) == 2


def test_d7_a_finished_branch_does_not_end_what_is_queued() -> None:
    story = played(
        make_step("start", "a", "b", mode="inclusive"),
        make_step("a"),
        make_step("b", "c"),
        make_step("c"),
    )

    assert story == f"{START} enter a enter b I(a) I(b) W(a) W(b) {enter('c')} {DONE}"


def test_d8_nothing_follows_a_cancel() -> None:
    run = Run(make_playbook(make_step("start", "a"), make_step("a"))).start()
    command = run.find("start")
    events = run.outcome_events(command)
    run.work_start(command, events[0])
    run.decide(cancel())
    refused = run.claim(command, "w2", http=True).answer
    run.decide(command_outcome(run.hold(command), tuple(events)))

    assert run.story == "started I(start) playbook_cancelled"
    assert (refused.status, refused.error) == (409, "Execution has been cancelled")


def test_d9_the_guard_of_start_is_ignored_and_a_cursor_there_refused_by_name() -> None:
    assert played(make_step("start", when="false")) == f"{START} {DONE}"

    loop = Loop(iterator="row", mode=LoopMode.CURSOR, cursor=Cursor(claim="SELECT 1"))
    with pytest.raises(StartRefused, match=r"loop\.in must resolve to a JSON array, got: null"):
        Run(make_playbook(make_step("start", loop=loop))).start()


@pytest.mark.parametrize(
    "step",
    [
        make_step("start", tool=Tool(kind="noop", config={"x": "{{ 1 + nothing }}"})),
        make_step("start", loop=make_loop("{{ 5 }}")),
    ],
    ids=["template", "loop"],
)
def test_d10_a_start_that_fails_leaves_nothing(step: Any) -> None:
    run = Run(make_playbook(step))
    with pytest.raises(StartRefused):
        run.start()

    assert run.execution.position == 0
    assert run.execution.snapshot() == Execution.new(7000).snapshot()


def test_d11_the_same_outcome_twice_dispatches_once_and_ends_once() -> None:
    run = Run(make_playbook(make_step("start", "a"), make_step("a"))).start()
    for label in ("start", "a"):
        command = run.find(label)
        events = run.outcome_events(command)
        for _ in range(2):
            run.finish(command, events)
        run.finish(command, run.outcome_events(command, worker="w2"), worker="w2")
        run.open.clear() if run.ended else run.open.remove(command)

    assert run.story == f"started I(start) enter a I(a) {DONE}"


def test_d12_a_join_behind_a_failure_does_not_run() -> None:
    story = played(
        make_step("start", "a", "b", mode="inclusive"),
        make_step("a", "j"),
        make_step("b", "j"),
        make_step("j"),
        fails={"a"},
    )

    assert story == f"{START} enter a enter b I(a) I(b) F(a) W(b) playbook.failed"


def test_d13_several_arcs_into_a_loop_issue_its_iterations_once() -> None:
    story = played(make_step("start", "lp", "lp", mode="inclusive"), make_step("lp", loop=PARALLEL))

    assert story == f"{START} enter lp{{2}} I(lp:i0) I(lp:i1) W(lp:i0) W(lp:i1) {DONE}"


def test_d14_two_guarded_off_steps_run_their_target_once_and_not_too_early() -> None:
    story = played(
        make_step("start", "a", "b", "c", mode="inclusive"),
        make_step("a", "j", when="false"),
        make_step("b", "j", when="false"),
        make_step("c", "j"),
        make_step("j"),
    )

    assert story == f"{START} skip a skip b {enter('c')} {enter('j')} {DONE}"


def test_d15_a_decision_that_cannot_be_made_ends_the_execution() -> None:
    bad = Tool(kind="noop", config={"x": "{{ 1 + nothing }}"})
    story = played(make_step("start", "a"), make_step("a", tool=bad))

    assert story == f"{START} playbook.failed"


def test_d16_an_arc_s_variables_are_there_in_every_iteration_and_later() -> None:
    seen = Tool(kind="noop", config={"x": "{{ ctx.x }}"})
    run = Run(
        make_playbook(
            make_step("start", make_arc("lp", set={"ctx.x": 5})),
            make_step("lp", "end", loop=make_loop([1, 2]), tool=seen),
            make_step("end", tool=seen),
        )
    ).start()
    run.work_all()

    _, *later = run.issued.values()
    assert [command.context["tool_config"]["x"] for command in later] == [5, 5, 5]


def test_d17_no_more_than_max_in_flight_are_in_flight() -> None:
    loop = make_loop("{{ range(9) }}", "parallel", max_in_flight=3)
    run = Run(make_playbook(make_step("start", loop=loop))).start()
    widest = 0
    while run.open:
        widest = max(widest, len(run.open))
        run.work(run.label(run.open[-1]))

    assert widest == 3
    assert run.ended == ["COMPLETED"]


def test_d18_a_loop_s_result_has_the_data_and_its_variables_are_kept() -> None:
    def data(command: Any) -> Any:
        index = command.iteration_index
        return None if index is None else {"t": {"i": index}, "_context_updates": {"ctx.v": index}}

    run = Run(
        make_playbook(
            make_step("start", "lp"), make_step("lp", "end", loop=PARALLEL), make_step("end")
        )
    ).start()
    run.work_all(data=data)

    last = next(command for command in run.issued.values() if command.step == "end")
    scope = last.context["render_context"]
    assert [entry["data"]["i"] for entry in scope["lp"]] == [0, 1]
    assert scope["ctx"]["v"] == 1


def test_d19_a_failing_variable_is_null_and_its_key_is_told() -> None:
    bad = {"ctx.good": 1, "ctx.bad": "{{ 1 + nothing }}"}
    run = Run(make_playbook(make_step("start", "a", set=bad), make_step("a"))).start()
    run.work("start")

    (row,) = run.rows_of("ctx.updated")
    assert row.result["context"]["values"] == {"good": 1, "bad": None}
    assert row.meta["set_errors"] == ["ctx.bad"]


def test_d20_the_start_step_knows_the_execution() -> None:
    names = ("execution_id", "catalog_id", "path", "ctx.execution_id")
    tool = Tool(kind="noop", config={name: f"{{{{ {name} }}}}" for name in names})
    run = Run(make_playbook(make_step("start", tool=tool))).start()

    found = run.find("start").context["tool_config"]
    assert list(found.values()) == [7000, 42, "tests/playbook", 7000]


def test_d21_a_join_in_a_cycle_waits_for_all_its_branches() -> None:
    round_ = f"{enter('h')} enter a enter b I(a) I(b) W(a) W(b) {enter('j')}"
    story = played(
        make_step("start", "h"),
        make_step("h", "a", "b", mode="inclusive"),
        make_step("a", "j"),
        make_step("b", "j"),
        make_step("j", make_arc("h", "output.n < 2")),
        data=counting("j"),
    )

    assert story == f"{START} {round_} {round_} {DONE}"


def test_d22_a_loop_head_s_old_arcs_are_not_taken_again() -> None:
    story = played(
        make_step("start", "g"),
        make_step(
            "g", make_arc("w", "(n | default(0)) < 2"), make_arc("fin", "(n | default(0)) >= 2")
        ),
        make_step("w", "g", set={"ctx.n": "{{ output.n }}"}),
        make_step("fin"),
        data=counting("w"),
    )

    turn = "enter w I(w) W(w) set"
    assert story == (
        f"{START} {enter('g')} {turn} {enter('g')} {turn} {enter('g')} {enter('fin')} {DONE}"
    )


def test_d23_a_failing_iteration_waits_for_the_others() -> None:
    story = played(make_step("start", "lp"), make_step("lp", loop=PARALLEL), fails={"lp:i0"})

    assert story.endswith("I(lp:i0) I(lp:i1) F(lp:i0) W(lp:i1) playbook.failed")


def test_d24_a_join_that_is_selected_is_not_skipped_by_another_upstream() -> None:
    story = played(
        make_step("start", "m", "a", mode="inclusive"),
        make_step("a", make_arc("m", "false")),
        make_step("m"),
    )

    assert story == f"{START} {enter('a')} {enter('m')} {DONE}"


def test_d25_end_runs_behind_a_guarded_off_step() -> None:
    story = played(make_step("start", "a"), make_step("a", "end", when="false"), make_step("end"))

    assert story == f"{START} skip a {enter('end')} {DONE}"


def test_d26_guarded_off_steps_that_lead_to_each_other_end() -> None:
    story = played(
        make_step("start", "a"),
        make_step("a", "b", when="false"),
        make_step("b", "a", when="false"),
        limits=Limits(rounds_per_decision=10),
    )

    assert story == f"{START} skip a skip b {DONE}"


def test_case_18_a_sub_playbook_that_fails_is_a_result_like_any_other() -> None:
    """Case 22.18: the child's own log says FAILED; the parent gets its status document."""
    sub = Tool(kind="playbook", config={"path": "child", "return_step": "last"})
    run = Run(
        make_playbook(
            make_step("start", "sub"),
            make_step("sub", "end", tool=sub),
            make_step("end", tool=Tool(kind="noop", config={"seen": "{{ sub.status }}"})),
        )
    ).start()
    run.work("start")
    run.work("sub", data={"execution_id": 8000, "status": "FAILED", "is_cancelled": False})

    assert run.find("end").context["tool_config"]["seen"] == "FAILED"
    run.work("end")
    assert run.story == f"{START} {enter('sub')} {enter('end')} {DONE}"
    assert len(run.rows) == 19
    assert run.execution.progress.soft_errors == 0
