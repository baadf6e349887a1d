"""Waits: parked steps that a signal or a time ends, without a command to a worker."""

from datetime import timedelta
from typing import Any

import pytest
from engine_driver import (
    EXECUTION_ID,
    NOW,
    Run,
    cancel,
    make_arc,
    make_loop,
    make_playbook,
    make_step,
    posted,
)
from noetl_contract.ingress import SignalMessage, WireEvent
from noetl_engine.errors import StartRefused
from noetl_engine.inputs import Claimed, Limits, ReminderDue, WaitDue
from noetl_engine.outputs import Answer, Decision
from noetl_engine.playbook.model import Tool

RELOADS = pytest.mark.parametrize("reload", [False, True], ids=["kept", "reloaded"])
FORM = {"ok": {"type": "boolean", "required": True}, "why": {"type": "string", "default": "-"}}


def wait_tool(signal: str = "go", **config: Any) -> Tool:
    return Tool(kind="wait", config={"signal": signal, **config})


def sleep_tool(**config: Any) -> Tool:
    return Tool(kind="sleep", config=config)


def begin(tool: Tool | None = None, *, reload: bool = False, **fields: Any) -> Run:
    playbook = make_playbook(
        make_step("start", "w"),
        make_step("w", "end", tool=tool or wait_tool(timeout="3d"), **fields),
        make_step("end"),
    )
    run = Run(playbook).start()
    if reload:
        run.reload = lambda _turn: run.take_snapshot() or True
    return run.work("start")


def signal(run: Run, name: str = "go", payload: Any = None, **fields: Any) -> Answer:
    fields.setdefault("signal_id", f"s{run.new_id()}")
    message = SignalMessage(execution_id=EXECUTION_ID, name=name, payload=payload, **fields)
    return run.decide(message).answer


def come_due(run: Run, step: str = "w") -> Decision:
    return run.decide(WaitDue(waits_of(run, step)[0]))


def waits_of(run: Run, step: str = "w") -> list[int]:
    return [
        one.event_id
        for one in run.execution.state.commands.values()
        if one.wait is not None and one.step == step
    ]


def timers(run: Run) -> set[int]:
    """Return the ids that the table of timers would hold."""
    held: set[int] = set()
    for decision in run.decisions:
        held |= {timer.timer_id for timer in decision.timers}
        held -= set(decision.timers_done)
    return held


def scope(run: Run, label: str = "end") -> Any:
    return run.find(label).context["render_context"]


@RELOADS
def test_a_signal_ends_the_wait_and_its_timer(*, reload: bool) -> None:
    run = begin(reload=reload)
    assert not run.open
    assert run.story == "started I(start) W(start) enter w wait.started"
    (timer,) = run.decisions[-1].timers
    assert (timer.kind, timer.due_at) == ("wait", NOW + timedelta(days=3))
    assert timer.timer_id == waits_of(run)[0]

    answer = signal(run, payload={"by": "ana"}, signal_id="first", actor="ana")

    assert answer.body == {
        "execution_id": EXECUTION_ID,
        "signal": "go",
        "signal_id": "first",
        "status": "taken",
        "step": "w",
        "iteration": None,
    }
    assert run.decisions[-1].timers_done == [timer.timer_id]
    assert not run.decisions[-1].changes
    assert scope(run)["w"]["payload"] == {"by": "ana"}
    assert scope(run)["w"]["actor"] == "ana"
    assert not scope(run)["w"]["timed_out"]
    run.work("end")
    assert run.ended == ["COMPLETED"]
    assert [row.event_type for row in run.rows[6:13]] == [
        "step.enter", "wait.started", "signal.received", "call.done", "command.completed",
        "step.enter", "command.issued",
    ]  # fmt: skip


def test_a_wait_is_no_command_that_a_worker_could_claim_or_end() -> None:
    run = begin()
    (event_id,) = waits_of(run)
    assert run.decide(Claimed(event_id, "w1", None)).answer.status == 409
    command_id = f"{EXECUTION_ID}:w:{event_id}"
    for context in ({}, {"command_id": command_id}):
        event = WireEvent(
            event_type="command.completed", step="w", event_id=run.new_id(), context=context
        )
        run.decide(posted((event,)))

    assert waits_of(run) == [event_id]
    assert "end" not in run.execution.state.running


@RELOADS
def test_time_is_over(*, reload: bool) -> None:
    run = begin(reload=reload)
    come_due(run)

    assert run.ended == ["FAILED"]
    assert run.rows_of("command.failed")[0].result["context"]["error"] == (
        "No signal 'go' came within 3 days"
    )


def test_time_is_over_and_the_step_goes_on() -> None:
    run = begin(wait_tool(timeout=60, on_timeout="continue"))
    come_due(run)

    assert scope(run)["w"]["timed_out"] is True
    assert not timers(run)


def test_a_handled_timeout_takes_the_error_arc() -> None:
    arcs = (make_arc("end", when="{{ event.name == 'call.done' }}"),
            make_arc("late", when="{{ event.name == 'call.error' }}"))  # fmt: skip
    playbook = make_playbook(
        make_step("start", "w"), make_step("w", *arcs, tool=wait_tool(timeout=1)),
        make_step("end"), make_step("late"),
    )  # fmt: skip
    run = Run(playbook).start().work("start")
    come_due(run)
    run.work_all()

    assert run.ended == ["COMPLETED"]
    assert "W(late)" in run.log


@RELOADS
def test_a_sleep_ends_by_its_time(*, reload: bool) -> None:
    run = begin(sleep_tool(duration="90s"), reload=reload)
    (timer,) = run.decisions[-1].timers
    assert timer.due_at == NOW + timedelta(seconds=90)
    assert signal(run).status == 404

    come_due(run)
    assert scope(run)["w"]["until"] == "2026-06-14T10:01:30.000000Z"


def test_a_sleep_until_a_moment_of_a_template() -> None:
    run = begin(sleep_tool(until="{{ workload.day }}T12:00:00+02:00"))
    assert "can't wait: until" in run.rows[-1].meta["error"]

    playbook = make_playbook(
        make_step("start", tool=sleep_tool(until="{{ workload.day }}T12:00:00+02:00"))
    )
    run = Run(playbook, payload={"day": "2026-06-20"}).start()
    (timer,) = run.decisions[-1].timers
    assert timer.due_at.isoformat() == "2026-06-20T10:00:00+00:00"


def test_a_start_that_can_not_wait_is_refused() -> None:
    playbook = make_playbook(make_step("start", tool=wait_tool("{{ workload.name }}")))
    with pytest.raises(StartRefused, match="step 'start' can't wait: signal: it must be a name"):
        Run(playbook, payload={"name": "a b"}).start()


def test_a_start_step_waits() -> None:
    run = Run(make_playbook(make_step("start", tool=wait_tool()))).start()
    assert run.execution.progress.running_steps == 1
    signal(run)
    assert run.ended == ["COMPLETED"]


@RELOADS
def test_an_early_signal_is_kept_and_taken(*, reload: bool) -> None:
    playbook = make_playbook(
        make_step("start", "w"),
        make_step("w", "end", tool=wait_tool(timeout="3d"), set={"said": "{{ output.payload }}"}),
        make_step("end"),
    )
    run = Run(playbook).start()
    if reload:
        run.reload = lambda _turn: run.take_snapshot() or True
    assert signal(run, payload=5).body["status"] == "kept"
    assert signal(run, payload=6).body["status"] == "kept"

    run.work("start")

    assert run.find("end").context["render_context"]["said"] == 5
    assert [kept.position for kept in run.execution.state.signals] == [4]
    assert not timers(run)
    assert not run.decisions[-1].timers


def test_an_early_signal_goes_to_the_step_and_iteration_it_names() -> None:
    loop = make_loop([10, 20, 30], "parallel")
    playbook = make_playbook(
        make_step("start", "w"), make_step("w", "end", tool=wait_tool(), loop=loop),
        make_step("end"),
    )  # fmt: skip
    run = Run(playbook).start()
    assert signal(run, payload="third", step="w", iteration=2).body["status"] == "kept"
    assert signal(run, step="end").status == 404
    run.work("start")
    assert len(waits_of(run)) == 2

    signal(run, payload="second", iteration=1)
    signal(run, payload="first")
    said = [entry["data"]["payload"] for entry in scope(run)["w"]]
    assert said == ["first", "second", "third"]


@RELOADS
def test_early_signals_end_a_whole_sequential_loop(*, reload: bool) -> None:
    loop = make_loop([1, 2, 3], "sequential")
    playbook = make_playbook(
        make_step("start", "w"), make_step("w", "end", tool=wait_tool(), loop=loop),
        make_step("end"),
    )  # fmt: skip
    run = Run(playbook).start()
    if reload:
        run.reload = lambda _turn: run.take_snapshot() or True
    for number in (1, 2):
        signal(run, payload=number)
    run.work("start")
    assert len(waits_of(run)) == 1
    signal(run, payload=3)

    assert [entry["data"]["payload"] for entry in scope(run)["w"]] == [1, 2, 3]
    run.work("end")
    assert run.ended == ["COMPLETED"]
    assert not timers(run)


def test_what_waits_and_what_may_be_kept_is_bounded() -> None:
    run = Run(begin().playbook, limits=Limits(signals_kept=2, signal_bytes=20)).start()
    assert signal(run).body["status"] == "kept"
    assert signal(run).body["status"] == "kept"
    answer = signal(run)
    assert (answer.status, "NOETL_SIGNALS_KEPT_MAX" in (answer.error or "")) == (409, True)
    assert signal(run, payload="x" * 30).status == 422
    run = Run(begin().playbook, limits=Limits(signals_kept_bytes=20)).start()
    signal(run, payload="x" * 15)
    assert "NOETL_SIGNALS_KEPT_BYTES_MAX" in (signal(run, payload="x" * 15).error or "")


def test_refusals_of_signals() -> None:
    run = begin()
    answer = signal(run, "stop")
    assert answer.status == 404
    assert answer.error == "No step waits for signal 'stop'; the signals are go"
    assert signal(run, step="nope").error == "Step not found: nope"
    assert signal(run, wait_id=5).status == 409
    run.decide(cancel())
    answer = signal(run)
    assert (answer.status, answer.error) == (409, "Cannot signal execution in CANCELLED state")


def test_a_payload_has_to_fit_the_form() -> None:
    run = begin(wait_tool(form=FORM))
    answer = signal(run, payload={"ok": "perhaps", "more": 1})
    assert answer.status == 422
    assert answer.detail["fields"] == {
        "more": "the form has no such field",
        "ok": "it must be true or false",
    }
    assert signal(run, payload={"why": "x"}).detail["fields"] == {"ok": "it is required"}
    signal(run, payload={"ok": True})
    assert scope(run)["w"]["payload"] == {"ok": True, "why": "-"}


def test_an_early_payload_has_to_fit_a_form_that_is_known() -> None:
    run = Run(begin(wait_tool(form=FORM)).playbook).start()
    assert signal(run, payload={"ok": 1}).status == 422
    assert signal(run, payload={"ok": False}).body["status"] == "kept"


def test_a_time_limit_of_the_step_ends_a_longer_wait() -> None:
    run = begin(wait_tool(timeout="1h"), timeout_seconds=5.0)
    (timer,) = run.decisions[-1].timers
    assert timer.due_at == NOW + timedelta(seconds=5)
    come_due(run)
    assert run.rows_of("command.failed")[0].result["context"]["error"] == (
        "Execution timed out after 5 seconds"
    )


@RELOADS
def test_reminders(*, reload: bool) -> None:
    tool = wait_tool(title="Well?", remind_after="1h", remind_every="2h")
    run = begin(tool, reload=reload)
    wait, reminder = sorted(run.decisions[-1].timers, key=lambda timer: timer.kind)
    assert reminder.due_at == NOW + timedelta(hours=1)

    run.wait(3600)
    again = run.decide(ReminderDue(wait.timer_id, 0))
    (row,) = again.events
    assert row.event_type == "wait.reminder"
    assert row.result["context"]["title"] == "Well?"
    assert row.result["context"]["number"] == 1
    (following,) = again.timers
    assert following.due_at == run.now + timedelta(hours=2)
    assert not run.decide(ReminderDue(wait.timer_id, 0)).events

    signal(run)
    assert set(run.decisions[-1].timers_done) == {wait.timer_id, following.timer_id}


def test_the_end_of_the_execution_ends_the_timers_of_its_waits() -> None:
    run = begin(wait_tool(remind_every=60))
    assert len(timers(run)) == 2
    run.decide(cancel())
    assert not timers(run)
    assert not come_due(run).events


def test_a_guard_skips_a_wait() -> None:
    run = begin(when="{{ 1 > 2 }}")
    assert "skip w" in run.log
    assert not waits_of(run)


def test_a_wait_in_a_cycle_takes_one_signal_a_round() -> None:
    again = make_arc("w", when="{{ output.payload == 'again' }}")
    playbook = make_playbook(
        make_step("start", "w"),
        make_step("w", again, make_arc("end"), tool=wait_tool()),
        make_step("end"),
    )
    run = Run(playbook).start()
    for payload in ("again", "again", "done"):
        signal(run, payload=payload)
    run.work("start")
    assert len(run.rows_of("wait.started")) == 3
    run.work("end")
    assert run.ended == ["COMPLETED"]


def test_waits_beside_each_other_meet_in_a_join() -> None:
    playbook = make_playbook(
        make_step("start", "a", "b", mode="inclusive"),
        make_step("a", "join", tool=wait_tool("a")),
        make_step("b", "join", tool=sleep_tool(duration=5)),
        make_step("join"),
    )
    run = Run(playbook).start().work("start")
    signal(run, "a")
    assert "enter join" not in run.log
    come_due(run, "b")
    run.work("join")
    assert run.ended == ["COMPLETED"]
