"""A result in the log ends its command, even if its worker is gone."""

from datetime import timedelta
from typing import Any

import pytest
from engine_driver import (
    NOW,
    Run,
    cancel,
    command_outcome,
    make_loop,
    make_playbook,
    make_step,
    posted,
)
from noetl_engine.inputs import (
    Claimed,
    CommandExhausted,
    Limits,
    ResultRecorded,
    StepTimedOut,
    WorkerSeen,
)
from noetl_engine.outputs import NewCommand
from noetl_engine.playbook.model import Cursor, Loop, LoopMode

RELOADS = pytest.mark.parametrize("reload", [False, True], ids=["kept", "reloaded"])
PLAYBOOK = make_playbook(
    make_step("start", "a"), make_step("a", "b", timeout_seconds=30.0), make_step("b")
)


def reported(
    run: Run, label: str, *, data: Any = None, status: str = "success", fast: bool = False
) -> NewCommand:
    """A worker has reported a result, and then no more."""
    command = run.find(label)
    started, done, _ = run.outcome_events(command, data=data, status=status)
    if fast:
        run.decide(command_outcome(run.hold(command), (started, done)))
        return command
    run.decide(Claimed(command.event_id, "w1", None))
    for event in (started, done):
        run.decide(posted((event,)))
    return command


def begin(*, reload: bool = False, playbook: Any = PLAYBOOK, **options: Any) -> Run:
    run = Run(playbook, **options).start().work("start")
    if reload:
        run.reload = lambda _turn: run.take_snapshot() or True
    return run


def silent(run: Run, seconds: float = 120.0) -> dict[str, WorkerSeen]:
    run.wait(seconds)
    return {"w1": WorkerSeen(heartbeat_at=NOW, process_since=NOW, instance="w1-process")}


@RELOADS
@pytest.mark.parametrize("fast", [False, True], ids=["posted", "by message"])
def test_a_recorded_result_ends_its_command(*, reload: bool, fast: bool):
    run = begin(reload=reload)
    command = reported(run, "a", data={"n": 3}, fast=fast)

    run.decide(ResultRecorded(command.event_id, 0))

    (ended,) = [row for row in run.rows_of("command.completed") if row.node_name == "a"]
    assert (ended.status, ended.meta["reason"]) == ("success", "result_recorded")
    assert run.find("b").context["render_context"]["a"]["n"] == 3
    run.work_all()
    assert run.ended == ["COMPLETED"]


def test_the_tool_s_own_word_is_kept():
    run = begin()
    command = reported(run, "a", status="error")

    run.decide(ResultRecorded(command.event_id, 0))

    assert run.rows_of("command.completed")[-1].status == "error"
    assert run.execution.progress.soft_errors == 1


def test_the_end_that_comes_after_all_is_late_and_decides_nothing():
    run = begin()
    command = reported(run, "a")
    completed = run.outcome_events(command)[-1]
    run.decide(ResultRecorded(command.event_id, 0))
    story = run.story

    answer = run.decide(posted((completed,))).answer

    assert answer.body["status"] == "late"
    assert run.story == story


@pytest.mark.parametrize("ended", ["completed", "cancelled", "taken"])
def test_a_command_that_moved_on_is_left_alone(ended: str):
    run = begin()
    command = run.find("a")
    attempts = 0
    if ended == "taken":
        attempts = 5
        reported(run, "a")
    elif ended == "cancelled":
        reported(run, "a")
        run.decide(cancel())
    else:
        run.work("a")
    before = len(run.rows)

    run.decide(ResultRecorded(command.event_id, attempts))

    assert len(run.rows) == before


def test_a_run_without_a_result_is_left_alone():
    run = begin()
    command = run.find("a")
    run.decide(Claimed(command.event_id, "w1", None))
    before = len(run.rows)

    run.decide(ResultRecorded(command.event_id, 0))

    assert len(run.rows) == before


@RELOADS
def test_nobody_else_gets_a_command_whose_result_is_recorded(*, reload: bool):
    run = begin(reload=reload)
    command = reported(run, "a", data={"n": 3})

    answer = run.decide(Claimed(command.event_id, "w2", None), workers=silent(run)).answer

    assert (answer.status, answer.detail["code"]) == (409, "already_terminal")
    assert run.find("b").context["render_context"]["a"]["n"] == 3


def test_the_same_process_does_not_get_it_again_either():
    run = begin()
    command = reported(run, "a", fast=True)

    answer = run.claim(command, "w1").answer

    assert answer.status == 409
    assert run.find("b")


@RELOADS
def test_it_does_not_count_as_lost_or_late(*, reload: bool):
    run = begin(reload=reload, limits=Limits(max_attempts=1))
    command = reported(run, "a")
    run.decide(CommandExhausted(command.event_id, 0))
    assert run.find("b")

    other = begin(reload=reload)
    command = reported(other, "a")
    other.wait(60)
    other.decide(StepTimedOut(command.event_id, 1))
    assert other.find("b")


@RELOADS
def test_iterations_and_claims_of_rows_end_so_as_well(*, reload: bool):
    step = make_step("a", "b", loop=make_loop([1, 2], mode="parallel"))
    run = begin(
        reload=reload, playbook=make_playbook(make_step("start", "a"), step, make_step("b"))
    )
    for index in range(2):
        command = reported(run, f"a:i{index}", data={"n": index})
        run.decide(ResultRecorded(command.event_id, 0))
    results = run.find("b").context["render_context"]["a"]
    assert [one["data"]["n"] for one in results] == [0, 1]

    loop = Loop(iterator="row", mode=LoopMode.CURSOR, cursor=Cursor(claim="SELECT 1"))
    step = make_step("a", "b", loop=loop)
    run = begin(
        reload=reload, playbook=make_playbook(make_step("start", "a"), step, make_step("b"))
    )
    command = reported(run, "a", data={"rows": [{"id": 1}]})
    run.decide(ResultRecorded(command.event_id, 0))
    assert run.find("a:i0")


def test_its_lease_is_short_and_its_row_names_the_result():
    run = begin()
    command = run.find("a")
    started, done, completed = run.outcome_events(command)
    run.decide(Claimed(command.event_id, "w1", None))
    run.decide(posted((started,)))
    (change,) = run.decide(posted((done,))).changes
    assert change.lease_until == run.now + timedelta(seconds=Limits().result_seconds)
    assert change.result_event_id == done.event_id

    (change,) = run.decide(posted((completed,))).changes
    assert (change.lease_until, change.status) == (None, "COMPLETED")
