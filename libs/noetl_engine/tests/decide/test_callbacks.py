"""Containers: a step is parked until its callback (case 21 of the contract)."""

from typing import Any

import pytest
from engine_driver import Run, cancel, make_arc, make_loop, make_playbook, make_step, posted
from noetl_contract.hints import EVERY_RUN
from noetl_contract.ingress import WireEvent
from noetl_engine.inputs import CallbackTimedOut, CommandExhausted, Limits
from noetl_engine.playbook.model import Tool

CONTAINER = Tool(kind="container", config={"image": "x", "timeout_seconds": 9000})
RELOADS = pytest.mark.parametrize("reload", [False, True], ids=["kept", "reloaded"])


def begin(tool: Tool = CONTAINER, *, reload: bool = False, **fields: Any) -> Run:
    playbook = make_playbook(
        make_step("start", "c"), make_step("c", "end", tool=tool, **fields), make_step("end")
    )
    run = Run(playbook).start().work("start")
    if reload:
        run.reload = lambda _turn: run.take_snapshot() or True
    return run


def complete(run: Run, label: str = "c", *, says_so: bool = False) -> Any:
    """The worker is done: the job runs on, with or without saying so."""
    command = run.find(label)
    started, _, completed = run.outcome_events(command)
    if says_so:
        context = {**completed.context, "pending_callback": True}
        completed = completed.but(context=context)
    run.finish(command, [started, completed])
    return command


def call_back(
    run: Run,
    state: str = "succeeded",
    job: str = "job-1",
    step: str = "c",
    **more: Any,
) -> Any:
    status = "COMPLETED" if state == "succeeded" else "FAILED"
    context = {"terminal_state": state, "job_name": job, "exit_code": 0, **more}
    event = WireEvent(
        event_type="call.done",
        step=step,
        event_id=run.new_id(),
        status=status,
        context=context,
        meta={"node_type": "container"},
    )
    return run.decide(posted((event,)))


@RELOADS
def test_case_21_a_container_before_end(*, reload: bool) -> None:
    run = begin(reload=reload)
    complete(run)
    assert run.log[-1] == "I(c)"

    callback = call_back(run)
    assert run.log[-2:] == ["enter end", "I(end)"]
    assert {row.parent_event_id for row in callback.events[1:]} == {callback.events[0].event_id}
    run.open.remove(run.find("c"))
    run.work("end")

    assert [row.event_type for row in run.rows[6:13]] == [
        "step.enter",
        "command.issued",
        "command.claimed",
        "command.started",
        "command.completed",
        "call.done",
        "step.enter",
    ]
    assert len(run.rows) == 19
    assert run.ended == ["COMPLETED"]


def test_the_callback_is_the_step_s_result() -> None:
    run = begin()
    complete(run)
    call_back(run)

    scope = run.find("end").context["render_context"]
    assert scope["c"]["terminal_state"] == "succeeded"
    assert scope["c"]["data"]["job_name"] == "job-1"
    assert run.rows_of("call.done")[-1].meta == {"node_type": "container"}


@RELOADS
def test_a_callback_that_overtakes_the_worker_is_kept_for_it(*, reload: bool) -> None:
    run = begin(reload=reload)
    command = run.find("c")
    run.work_start(command, run.outcome_events(command)[0])
    call_back(run, "failed_oom")
    assert run.log[-1] == "I(c)"

    complete(run)
    assert run.log[-2:] == ["enter end", "I(end)"]
    assert run.find("end").context["render_context"]["c"]["terminal_state"] == "failed_oom"
    assert run.execution.progress.soft_errors == 1


def test_a_failed_job_completes_the_step_as_a_soft_error() -> None:
    run = begin()
    complete(run)
    call_back(run, "failed")

    assert run.log[-2:] == ["enter end", "I(end)"]
    assert run.execution.progress.soft_errors == 1


def test_any_tool_may_say_that_it_will_call_back() -> None:
    run = begin(Tool(kind="python", config={"code": "result = 1"}))
    complete(run, says_so=True)
    assert run.log[-1] == "I(c)"

    call_back(run)
    assert run.log[-2:] == ["enter end", "I(end)"]


def test_a_container_that_reports_its_result_is_not_waited_for() -> None:
    run = begin().work("c", data={"x": 1})

    assert run.log[-2:] == ["enter end", "I(end)"]


def test_a_second_callback_has_no_effect() -> None:
    run = begin()
    complete(run)
    call_back(run)
    again = call_back(run, "failed")

    assert len(again.events) == 1
    assert run.find("end").context["render_context"]["c"]["terminal_state"] == "succeeded"


@RELOADS
def test_callbacks_of_a_loop_end_the_oldest_parked_iteration(*, reload: bool) -> None:
    run = begin(reload=reload, loop=make_loop([1, 2], "parallel"))
    second = complete(run, "c:i1")
    first = complete(run, "c:i0")
    call_back(run, "failed", "job-of-1")
    assert run.log[-1] == "I(c:i1)"
    call_back(run, job="job-of-0")

    result = run.find("end").context["render_context"]["c"]
    assert [(one["status"], one["data"]["job_name"]) for one in result] == [
        ("success", "job-of-0"),
        ("error", "job-of-1"),
    ]
    ids = [one["context"]["command_id"] for one in result]
    assert ids == [first.command_id, second.command_id]


@RELOADS
def test_a_callback_that_names_its_command_ends_that_one(*, reload: bool) -> None:
    run = begin(reload=reload, loop=make_loop([1, 2], "parallel"))
    first, second = run.find("c:i0"), run.find("c:i1")
    complete(run, "c:i0")
    run.work_start(second, run.outcome_events(second)[0])
    early = call_back(run, job="job-of-1", command_id=second.command_id)
    assert early.answer.body["status"] == "ok"
    complete(run, "c:i1")
    again = call_back(run, "failed", job="job-of-1", command_id=second.command_id)
    assert [row.note.get("callback") for row in again.events] == [None]
    call_back(run, "failed_oom", job="job-of-0", command_id=first.command_id)

    result = run.find("end").context["render_context"]["c"]
    assert [one["data"]["job_name"] for one in result] == ["job-of-0", "job-of-1"]
    assert [one["status"] for one in result] == ["error", "success"]


def test_a_callback_of_an_ordinary_command_is_no_report_of_its_run() -> None:
    run = begin(Tool(kind="noop"))
    command = run.find("c")
    run.work_start(command, run.outcome_events(command)[0])

    late = call_back(run, command_id=command.command_id)

    assert late.answer.body["status"] == "late"
    run.finish(command, run.outcome_events(command))
    assert run.log[-2:] == ["enter end", "I(end)"]


def test_what_went_wrong_is_the_soft_error_s_message() -> None:
    run = begin()
    complete(run)
    call_back(run, "failed_oom", error="out of memory (64Mi)")

    assert run.execution.state.soft.message == "out of memory (64Mi)"


def test_a_cancel_tells_that_a_parked_command_s_container_is_to_go() -> None:
    run = begin()
    command = complete(run)

    assert run.decide(cancel()).over == [(command.event_id, EVERY_RUN)]


def test_nobody_holds_a_parked_command() -> None:
    run = begin()
    command = complete(run)
    (change,) = run.decisions[-1].changes

    assert (change.status, change.worker_id, change.lease_until) == ("RUNNING", None, None)
    run.wait(100_000)
    run.workers = {}
    assert run.claim(command, "w2").answer.detail["code"] == "already_terminal"
    assert not run.decide(CommandExhausted(command.event_id, 0)).events


def test_a_parked_command_takes_no_second_outcome() -> None:
    run = begin()
    command = complete(run)
    again = run.finish(command, run.outcome_events(command, fails=True))

    assert again.answer.body == {"status": "late", "reason": "finished"}
    assert run.log[-1] == "I(c)"
    failed = run.event(command, "command.failed", "FAILED", error="late")
    assert run.decide(posted((failed,))).answer.body["status"] == "late"


def test_the_result_of_the_run_itself_ends_the_wait_too() -> None:
    """Its ``call.done`` came after its ``command.completed``: the request was repeated."""
    run = begin()
    command = complete(run)
    done = run.outcome_events(command, data={"x": 5})[1]
    run.decide(posted((done,)))

    assert run.find("end").context["render_context"]["c"]["x"] == 5


@RELOADS
def test_the_wait_is_as_long_as_the_tool_wants_and_no_longer(*, reload: bool) -> None:
    run = begin(reload=reload)
    run.limits = Limits(callback_seconds=60)
    command = complete(run)
    (timer,) = [one for one in run.decisions[-1].timers if one.kind == "callback_timeout"]
    assert (timer.due_at - run.now).total_seconds() == 9000

    # Neither a clock that is a little behind nor a word of the worker's loses the only timer.
    run.wait(8999.9)
    run.decide(posted((run.event(command, "step.progress", "RUNNING"),)))
    run.decide(CallbackTimedOut(command.event_id))

    assert [row.event_type for row in run.rows[-3:]] == [
        "call.error",
        "command.failed",
        "playbook.failed",
    ]
    assert run.rows[-2].result["context"]["error"] == "No callback came within 9000 seconds"


SCRIPT = Tool(kind="script", config={"script": {}, "job": {"timeout": 9000}})


def tell_result(run: Run, command: Any, *, fails: bool = False) -> Any:
    """The callback of a script brings the result that its own run would have."""
    body = {"status": "error" if fails else "success", "data": {"output": "42\n"}}
    if fails:
        body["error"] = "Job failed with 1 failures"
    event = WireEvent(
        event_type="call.done",
        step="c",
        event_id=run.new_id(),
        status="FAILED" if fails else "COMPLETED",
        context={
            "command_id": command.command_id,
            "call_index": 0,
            "result": {"status": body["status"], "context": body},
        },
        meta={"node_type": "container"},
    )
    return run.decide(posted((event,)))


@RELOADS
@pytest.mark.parametrize("early", [False, True], ids=["later", "early"])
def test_a_script_is_parked_and_its_callback_brings_its_result(
    *, reload: bool, early: bool
) -> None:
    run = begin(SCRIPT, reload=reload)
    run.limits = Limits(callback_seconds=60)
    command = run.find("c")
    if early:
        run.work_start(command, run.outcome_events(command)[0])
        tell_result(run, command)
    complete(run, says_so=True)
    if not early:
        (timer,) = [one for one in run.decisions[-1].timers if one.kind == "callback_timeout"]
        assert (timer.due_at - run.now).total_seconds() == 9000
        tell_result(run, command)

    assert run.find("end").context["render_context"]["c"]["output"] == "42\n"
    assert run.execution.progress.soft_errors == 0


def test_a_script_that_went_wrong_is_a_soft_error_with_its_text() -> None:
    run = begin(SCRIPT)
    command = complete(run, says_so=True)
    tell_result(run, command, fails=True)

    assert run.execution.progress.soft_errors == 1
    assert run.execution.state.soft.message == "Job failed with 1 failures"


@RELOADS
@pytest.mark.parametrize("early", [False, True], ids=["later", "early"])
@pytest.mark.parametrize("status", ["success", "error"])
def test_a_script_whose_result_is_refused_fails_its_step_with_the_reason(
    status: str, *, reload: bool, early: bool
) -> None:
    run = begin(SCRIPT, reload=reload)
    command = run.find("c")
    error = "Result not stored: the result of step 'c' has 9 bytes and is lost: too large"
    event = WireEvent(
        event_type="call.done",
        step="c",
        event_id=run.new_id(),
        status="COMPLETED" if status == "success" else "FAILED",
        context={
            "command_id": command.command_id,
            "call_index": 0,
            "result": {"status": status},
            "error": error,
        },
        meta={"node_type": "container"},
    )
    if early:
        run.work_start(command, run.outcome_events(command)[0])
        run.decide(posted((event,)))
    complete(run, says_so=True)
    if not early:
        run.decide(posted((event,)))

    assert run.ended == ["FAILED"]
    assert run.execution.state.causes["c"].message == error
    assert run.execution.progress.soft_errors == 0


def test_a_callback_from_outside_may_have_no_data() -> None:
    run = begin(Tool(kind="python", config={"code": "result = 1"}))
    command = complete(run, says_so=True)
    run.decide(
        posted(
            (
                WireEvent(
                    event_type="call.done",
                    step="c",
                    event_id=run.new_id(),
                    status="COMPLETED",
                    context={"command_id": command.command_id, "result": {"status": "success"}},
                ),
            )
        )
    )

    assert run.log[-2:] == ["enter end", "I(end)"]


def test_a_script_that_its_run_has_waited_for_is_not_parked() -> None:
    run = begin(SCRIPT).work("c", data={"output": "42\n"})

    assert run.find("end").context["render_context"]["c"]["output"] == "42\n"


def test_a_timer_that_finds_the_callback_done_does_nothing() -> None:
    run = begin()
    command = complete(run)
    call_back(run)

    run.wait(1_000_000)
    assert not run.decide(CallbackTimedOut(command.event_id)).events


def test_a_lost_callback_can_be_handled_by_an_error_arc() -> None:
    playbook = make_playbook(
        make_step("start", "c"),
        make_step("c", make_arc("x", "event.name == 'call.error'"), tool=CONTAINER),
        make_step("x"),
    )
    run = Run(playbook).start().work("start")
    command = complete(run)
    run.wait(30_000)
    run.decide(CallbackTimedOut(command.event_id))

    assert run.log[-2:] == ["enter x", "I(x)"]


def test_a_cancel_ends_the_wait() -> None:
    run = begin()
    complete(run)
    run.decide(cancel())

    assert run.ended == ["CANCELLED"]
    assert len(call_back(run).events) == 1
    assert run.execution.status == "CANCELLED"


def test_a_call_done_without_ids_for_an_ordinary_step_ends_nothing() -> None:
    run = begin(Tool(kind="noop"))
    call_back(run)

    assert run.log[-1] == "I(c)"
