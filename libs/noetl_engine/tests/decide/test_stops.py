"""Runs that end without their worker are named, so that the tools are stopped."""

from dataclasses import replace

import pytest
from engine_driver import (
    NOW,
    Run,
    cancel,
    command_start,
    finalize,
    make_loop,
    make_playbook,
    make_step,
)
from noetl_contract.hints import EVERY_RUN
from noetl_engine.inputs import CommandExhausted, DeadlinePassed, Limits, StepTimedOut
from noetl_engine.outputs import NewCommand
from noetl_engine.playbook.model import Tool
from noetl_engine.playbook.parse.document import parse_playbook

WIDE = make_playbook(
    make_step("start", "a"), make_step("a", loop=make_loop([1, 2, 3], mode="parallel"))
)


def started(run: Run, label: str) -> NewCommand:
    command = run.find(label)
    run.decide(command_start(run.hold(command), run.outcome_events(command)[:1]))
    return command


def timed(seconds: float) -> Run:
    step = make_step("a", timeout_seconds=seconds)
    return Run(make_playbook(make_step("start", "a"), step)).start().work("start")


def test_an_end_names_the_runs_that_were_open():
    for end in (cancel(), finalize("FAILED", "enough")):
        run = Run(WIDE).start().work("start")
        held = [started(run, f"a:i{index}") for index in range(2)]

        decision = run.decide(end)

        assert decision.over == [(command.event_id, 0) for command in held]


def test_an_end_of_its_own_names_none():
    run = Run(WIDE).start().work_all()

    assert run.ended == ["COMPLETED"]
    assert all(not decision.over for decision in run.decisions)


def test_a_failed_sibling_does_not_stop_the_others():
    run = Run(WIDE).start().work("start")
    started(run, "a:i0")

    run.work("a:i1", fails=True)

    assert not run.decisions[-1].over


def test_a_step_s_timeout_names_its_run():
    run = timed(30.0)
    command = started(run, "a")

    assert run.decide(StepTimedOut(command.event_id, 1)).over == [(command.event_id, 0)]


def test_a_lost_lease_names_the_run_that_lost_it():
    run = Run(WIDE).start().work("start")
    command = started(run, "a:i0")
    run.wait(100)
    run.workers = {}

    decision = run.claim(command, "w2")

    assert decision.answer.status == 200
    assert decision.over == [(command.event_id, 0)]


def test_a_command_lost_too_often_names_its_last_run():
    run = Run(WIDE, limits=Limits(max_attempts=1)).start().work("start")
    command = started(run, "a:i0")

    assert run.decide(CommandExhausted(command.event_id, 0)).over == [(command.event_id, 0)]


DEADLINE = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: timed, path: tests/timed}
spec: {timeout: 5m}
workflow:
  - step: start
    tool: {kind: noop}
    next: {spec: {mode: inclusive}, arcs: [{step: a}, {step: b}]}
  - step: a
    tool: {kind: noop}
  - step: b
    tool: {kind: noop}
"""


def test_a_deadline_is_a_timer_of_the_start_and_fails_by_name():
    run = Run(parse_playbook(DEADLINE)).start()
    (timer,) = run.decisions[0].timers
    assert (timer.kind, (timer.due_at - NOW).total_seconds()) == ("deadline", 300)
    run.work("start").work("b")
    command = started(run, "a")
    run.reload = lambda _turn: run.take_snapshot() or True

    decision = run.decide(DeadlinePassed())

    text = "deadline of 300 s exceeded while running: a"
    assert (run.ended, decision.error) == (["FAILED"], text)
    assert decision.over == [(command.event_id, 0)]
    assert run.rows[-1].meta["running_steps"] == ["a"]
    assert not run.decide(DeadlinePassed()).events


def test_the_end_of_an_execution_deletes_the_timer_of_its_deadline():
    run = Run(parse_playbook(DEADLINE), reload=lambda _turn: True).start()
    (timer,) = run.decisions[0].timers

    run.work_all()

    assert run.ended == ["COMPLETED"]
    assert run.decisions[-1].timers_done == [timer.timer_id]


@pytest.mark.parametrize(
    ("own", "asked", "seconds"), [(300, 60.0, 60), (60, 300.0, 60), (None, 5.0, 5)]
)
def test_of_the_deadlines_of_a_start_and_a_playbook_the_shorter_counts(
    own: float | None, asked: float, seconds: int
):
    playbook = replace(make_playbook(make_step("start")), timeout_seconds=own)
    run = Run(playbook).start(timeout_seconds=asked)

    (timer,) = run.decisions[0].timers
    assert (timer.kind, (timer.due_at - NOW).total_seconds()) == ("deadline", seconds)


def test_without_a_deadline_nothing_is_written():
    run = Run(WIDE).start()

    assert not run.decisions[0].timers
    assert "deadline" not in run.rows[0].note


def test_a_spec_that_is_not_ours_is_left_alone():
    for text in ("spec: {timeout: {hours: 1}}", "spec: later", "spec: {timeout: soon}"):
        playbook = parse_playbook(DEADLINE.replace("spec: {timeout: 5m}", text))
        assert playbook.timeout_seconds is None


def test_a_step_s_timeout_ends_a_command_that_waits_for_its_callback():
    tool = Tool(kind="container", config={"image": "x"})
    step = make_step("a", tool=tool, timeout_seconds=30.0)
    run = Run(make_playbook(make_step("start", "a"), step)).start().work("start")
    command = run.find("a")
    began, _, completed = run.outcome_events(command)
    run.finish(command, [began, completed])

    decision = run.decide(StepTimedOut(command.event_id, 1))

    assert run.ended == ["FAILED"]
    assert decision.over == [(command.event_id, EVERY_RUN)]
