"""The holder of a command: claims, the fast path, lost workers."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from engine_driver import (
    NOW,
    Run,
    cancel,
    command_outcome,
    command_start,
    finalize,
    make_playbook,
    make_step,
    posted,
)
from noetl_engine.inputs import CommandExhausted, Facts, Limits, StepTimedOut, WorkerSeen
from noetl_engine.lease import gone_reason
from noetl_engine.outputs import NewCommand

PLAYBOOK = make_playbook(make_step("start", "a"), make_step("a"))


def at_a(**options: Any) -> tuple[Run, NewCommand]:
    run = Run(PLAYBOOK, **options).start().work("start")
    return run, run.find("a")


def alive(run: Run, *names: str, **fields: Any) -> dict[str, WorkerSeen]:
    fields.setdefault("heartbeat_at", run.now)
    fields.setdefault("process_since", NOW - timedelta(days=1))
    fields.setdefault("instance", None)
    return {name: WorkerSeen(**fields) for name in names}


def types(run: Run, step: str = "a") -> list[str]:
    return [row.event_type for row in run.rows if row.node_name == step]


RUN = ["command.claimed", "command.started", "call.done", "command.completed"]


def test_a_claim_answers_what_the_worker_needs():
    run, command = at_a()

    answer = run.claim(command, "w1", http=True).answer

    assert answer.status == 200
    assert answer.body == {
        "status": "ok",
        "event_id": command.event_id,
        "execution_id": 7000,
        "node_id": "a",
        "node_name": "a",
        "action": "python",
        "context": command.context,
        "meta": command.meta,
    }
    row = run.rows[-1]
    assert row.worker_id == "w1"
    assert row.result["context"] == {"command_id": command.command_id, "worker_id": "w1"}
    assert row.meta == {
        "command_id": command.command_id,
        "worker_id": "w1",
        "actionable": False,
        "informative": True,
    }


def test_a_claim_over_messages_tells_the_attempt():
    run, command = at_a()

    assert run.claim(command, "w1").answer.body["fast"] == {"v": 1, "attempts": 0}


def test_a_command_held_by_another_is_refused():
    run, command = at_a()
    run.claim(command, "w1")
    decision = run.claim(command, "w2", http=True)

    assert decision.answer.status == 409
    assert decision.answer.error == "Command already claimed by w1"
    assert decision.answer.detail["code"] == "active_claim"
    assert not decision.events


def test_the_holder_gets_the_same_hold_again_over_messages():
    run, command = at_a()
    first = run.claim(command, "w1").answer.body
    again = run.claim(command, "w1")

    assert first == again.answer.body
    assert not again.events


def test_a_repeated_claim_over_http_waits_for_the_start():
    run, command = at_a()
    first = run.claim(command, "w1", http=True).answer.body

    assert run.claim(command, "w1", http=True).answer.hold_back_seconds == 2.0
    assert run.claim(command, "w1", http=True, final=True).answer.body == first


def test_a_repeated_claim_over_http_of_a_started_command_is_refused():
    run, command = at_a()
    run.claim(command, "w1", http=True)
    run.decide(posted((run.event(command, "command.started", "STARTED"),)))

    for final in (False, True):
        answer = run.claim(command, "w1", http=True, final=final).answer
        assert (answer.status, answer.error) == (409, "Command already claimed by w1")


def test_a_finished_command_is_refused():
    run, command = at_a()
    run.work("a")

    answer = run.claim(command, "w2").answer
    assert answer.error == "Command already reached terminal state"
    assert answer.detail["code"] == "already_terminal"


def test_a_command_of_a_cancelled_execution_is_refused():
    run, command = at_a()
    run.decide(cancel(reason="enough"))

    answer = run.claim(command, "w1").answer
    assert (answer.error, answer.detail["code"]) == (
        "Execution has been cancelled",
        "execution_cancelled",
    )


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
def test_a_command_that_an_end_left_open_is_refused(status: str):
    run, command = at_a()
    run.decide(finalize(status))

    decision = run.claim(command, "w1")

    assert decision.answer.detail["code"] == "already_terminal"
    assert not decision.events


def test_an_unknown_command_is_refused_like_a_finished_one():
    run, command = at_a()
    command.event_id = 5

    assert run.claim(command, "w1").answer.detail["code"] == "already_terminal"


def test_a_claim_after_a_lost_start_waits_until_the_start_can_come_no_more():
    run, command = at_a()

    assert run.claim(command, "w1", after_start=True).answer.body == {"status": "retry"}

    run.wait(35)
    assert run.claim(command, "w1", after_start=True).answer.body["status"] == "ok"


def test_a_command_of_a_lost_worker_goes_to_the_asker_with_the_next_attempt():
    run, command = at_a()
    run.claim(command, "w1")
    run.wait(100)
    run.workers = alive(run, "w2")
    decision = run.claim(command, "w2")

    body = decision.answer.body
    assert body["fast"]["attempts"] == 1
    assert (body["meta"]["attempt"], body["meta"]["attempts"]) == (2, 1)
    assert decision.events[0].meta["reclaimed_from_worker"] == "w1"
    assert decision.events[0].meta["reclaimed_reason"] == "lease_expired"
    change = decision.changes[0]
    assert (change.status, change.attempts, change.holds) == ("CLAIMED", 1, 2)


def test_a_new_process_under_the_old_name_gets_the_next_attempt():
    run, command = at_a()
    run.claim(command, "w1", http=True)
    run.decide(posted((run.event(command, "command.started", "STARTED"),)))
    run.wait(20)
    run.workers = alive(run, "w1", process_since=run.now)
    answer = run.claim(command, "w1", http=True).answer

    assert answer.body["meta"]["attempts"] == 1
    assert run.rows[-1].meta["reclaimed_reason"] == "worker_registered_again"


def test_the_attempts_are_bounded():
    run, command = at_a(limits=Limits(max_attempts=2))
    for worker in ("w1", "w2"):
        run.claim(command, worker)
        run.wait(100)
        run.workers = {}

    answer = run.claim(command, "w3").answer
    assert answer.detail["code"] == "already_terminal"

    run.decide(CommandExhausted(command.event_id, attempts=0))
    assert types(run)[-1] == "command.claimed"

    decision = run.decide(CommandExhausted(command.event_id, attempts=1))
    assert types(run)[-2:] == ["call.error", "command.failed"]
    failed = run.rows[-2]
    error = "Command lost: worker w2 stopped answering (attempt 2 of 2)"
    assert failed.result["context"] == {"command_id": command.command_id, "error": error}
    assert failed.meta["reason"] == "attempts_exhausted"
    assert decision.changes[0].status == "FAILED"
    assert decision.changes[0].error == error
    assert run.ended == ["FAILED"]


def left(run: Any) -> dict[str, WorkerSeen]:
    """Every worker has said goodbye just now."""
    seen = WorkerSeen(run.now, NOW - timedelta(days=1), None, deregistered_at=run.now)
    return dict.fromkeys(("w1", "w2", "w3", "w4"), seen)


def test_what_a_stopped_worker_gives_back_uses_up_no_attempt():
    run, command = at_a(limits=Limits(max_attempts=2))
    for number, worker in enumerate(("w1", "w2", "w3")):
        body = run.claim(command, worker).answer.body
        assert body["fast"]["attempts"] == number
        run.wait(10)
        run.workers = left(run)
        run.decide(CommandExhausted(command.event_id, attempts=number))
    run.take_snapshot()
    run.execution = run.restore()
    run.claim(command, "w4")
    run.wait(100)
    run.workers = {}
    lost = run.claim(command, "w1")

    assert [
        row.meta["reclaimed_reason"] for row in run.rows if "reclaimed_reason" in (row.meta or {})
    ] == [*["worker_gone"] * 3, "lease_expired"]
    assert lost.answer.body["fast"]["attempts"] == 4
    run.wait(100)
    run.decide(CommandExhausted(command.event_id, attempts=4))
    error = "Command lost: worker w1 stopped answering (attempt 2 of 2)"
    assert run.rows[-2].result["context"]["error"] == error


def never_began(run: Run, command: NewCommand, worker: str, attempts: int) -> Any:
    """Send the outcome of a worker that could not begin the tool, twice; return its answer."""
    events = [
        run.event(command, event_type, word, attempts=attempts, worker=worker, error="no memory")
        for event_type, word in (
            ("command.started", "STARTED"),
            ("call.error", "FAILED"),
            ("command.failed", "FAILED"),
        )
    ]
    for event in events[1:]:
        event.meta["never_began"] = True
    answer = run.finish(command, events, worker=worker, attempts=attempts).answer.body
    again = run.finish(command, events, worker=worker, attempts=attempts)
    # As the first one was: moved on, or the failure that it is.
    assert again.answer.body["status"] == answer["status"]
    assert not again.changes, "a repetition is kept for the record, and decides nothing"
    return answer


def test_a_command_whose_tool_never_began_is_anybody_s_at_once():
    run, command = at_a()

    assert never_began(run, command, "w1", 0) == {"status": "late", "reason": "given_back"}
    (change,) = run.decisions[-2].changes
    assert change.lease_until == run.now
    run.take_snapshot()
    run.execution = run.restore()
    # Nobody may be judged now, and nobody needs to be.
    run.workers = None
    assert run.claim(command, "w2").answer.body["fast"]["attempts"] == 2
    run.finish(command, run.outcome_events(command), worker="w2", attempts=2)

    assert run.ended == ["COMPLETED"]
    claimed = [row for row in run.rows_of("command.claimed") if row.node_name == "a"]
    assert [(row.worker_id, row.meta.get("reclaimed_reason")) for row in claimed] == [
        ("w1", None),
        ("", "never_began"),
        ("w2", "never_began"),
    ]
    assert claimed[1].result["context"]["error"] == "no memory"


@pytest.mark.parametrize("how", ["claim", "http", "start", "event"])
def test_a_worker_without_a_name_is_not_nobody(how: str):
    run, command = at_a()
    if how == "event":
        run.decide(posted((run.event(command, "command.started", "STARTED", worker=""),)))
    elif how == "start":
        run.work_start(command, run.event(command, "command.started", "STARTED"), worker="")
    else:
        assert run.claim(command, "", http=how == "http").answer.status == 200
    run.workers = {}

    answer = run.claim(command, "w2").answer
    assert (answer.status, answer.detail["code"]) == (409, "active_claim")
    assert run.decisions[-2].changes[0].lease_until > run.now
    if how != "event":
        run.finish(command, run.outcome_events(command), worker="")
        assert run.ended == ["COMPLETED"]


def test_nobody_s_hold_has_no_time_limit():
    slow = make_playbook(make_step("start", timeout_seconds=5.0))
    run = Run(slow).start()
    (command,) = run.open
    run.claim(command, "w1")
    never_began(run, command, "w1", 0)

    timers = [timer for one in run.decisions for timer in one.timers]
    assert [timer.payload["holds"] for timer in timers if timer.kind == "step_timeout"] == [1]
    run.claim(command, "w2")
    assert run.decisions[-1].timers[0].payload["holds"] == 3


def test_of_an_ended_execution_it_is_a_failure_like_any_other():
    run, command = at_a()
    run.claim(command, "w1")
    run.decide(cancel(reason="enough"))
    events = run.outcome_events(command, fails=True)
    for event in events:
        event.meta["never_began"] = True

    assert run.finish(command, events).answer.body == {"status": "ok"}


def test_it_uses_up_no_attempt():
    run, command = at_a(limits=Limits(max_attempts=1))
    for number in range(3):
        never_began(run, command, f"w{number}", 2 * number)
        run.decide(CommandExhausted(command.event_id, attempts=2 * number + 1))
        run.claim(command, f"w{number + 1}")

    assert not run.ended
    assert run.finish(
        command, run.outcome_events(command), worker="w3", attempts=6
    ).answer.body == {"status": "ok"}


def test_a_command_that_never_begins_fails_in_the_end():
    run, command = at_a()
    number = 0
    while not run.ended:
        never_began(run, command, f"w{number}", 2 * number)
        number += 1
        run.claim(command, f"w{number}")

    assert number == 26
    assert run.ended == ["FAILED"]


def test_a_command_that_is_given_back_for_ever_ends():
    run, command = at_a(limits=Limits(max_attempts=2))
    for number in range(100):
        answer = run.claim(command, f"w{number % 2 + 1}").answer
        if answer.status == 409:
            break
        run.wait(10)
        run.workers = left(run)

    assert number == 52
    run.decide(CommandExhausted(command.event_id, attempts=51))
    assert run.ended == ["FAILED"]


HELD = NOW


@pytest.mark.parametrize(
    ("reason", "seconds", "worker", "held"),
    [
        (None, 20, {}, {}),
        ("worker_gone", 20, {"deregistered_at": NOW + timedelta(seconds=10)}, {}),
        (None, 20, {"deregistered_at": NOW - timedelta(seconds=60)}, {}),
        ("worker_registered_again", 20, {"process_since": NOW + timedelta(seconds=10)}, {}),
        # It said goodbye before it came back under its own name.
        (
            "worker_gone",
            20,
            {
                "process_since": NOW + timedelta(seconds=10),
                "left_at": NOW + timedelta(seconds=8),
            },
            {},
        ),
        (
            "worker_registered_again",
            20,
            {
                "process_since": NOW + timedelta(seconds=10),
                "left_at": NOW - timedelta(seconds=1),
            },
            {},
        ),
        (None, 20, {"process_since": NOW + timedelta(seconds=4)}, {}),
        # From within the clock allowance: perhaps the dead process's, so its heartbeats are none.
        ("lease_expired", 70, {"process_since": NOW + timedelta(seconds=1)}, {}),
        (
            None,
            70,
            {"process_since": NOW + timedelta(seconds=1)},
            {"heard_at": NOW + timedelta(seconds=12)},
        ),
        (
            None,
            20,
            {"process_since": NOW + timedelta(seconds=10)},
            {"heard_at": NOW + timedelta(seconds=12)},
        ),
        (
            None,
            20,
            {"process_since": NOW + timedelta(seconds=10), "instance": "p1"},
            {"instance": "p1"},
        ),
        # Two processes known apart: a restart within the clock allowance counts as well.
        (
            "worker_registered_again",
            20,
            {"process_since": NOW - timedelta(seconds=2), "instance": "p2"},
            {"instance": "p1"},
        ),
        (
            None,
            20,
            {"process_since": NOW - timedelta(seconds=6), "instance": "p2"},
            {"instance": "p1"},
        ),
        (
            "worker_registered_again",
            20,
            {"process_since": NOW + timedelta(seconds=4), "instance": "p2"},
            {"instance": "p1"},
        ),
        (
            None,
            20,
            {"process_since": NOW - timedelta(seconds=6), "instance": "p1"},
            {"instance": "p2"},
        ),
        ("lease_expired", 70, {"heartbeat_at": NOW}, {}),
        ("not_started", 31, {}, {"started_at": None}),
        ("hard_timeout", 1801, {}, {}),
        (None, 1801, {}, {"timeout_seconds": 3600}),
    ],
)
def test_a_holder_is_gone_for_one_of_five_reasons(
    reason: str | None, seconds: float, worker: dict[str, Any], held: dict[str, Any]
) -> None:
    now = NOW + timedelta(seconds=seconds)
    fields = {
        "heartbeat_at": now,
        "process_since": NOW - timedelta(days=1),
        "instance": None,
        **worker,
    }
    facts = Facts(now=now, new_id=lambda: 1, workers={"w1": WorkerSeen(**fields)})
    hold = {"instance": None, "claimed_at": HELD, "started_at": HELD, **held}

    assert gone_reason(facts, worker_id="w1", **hold) == reason


def test_nobody_is_judged_while_heartbeats_can_not_be_heard():
    facts = Facts(now=NOW + timedelta(days=1), new_id=lambda: 1, workers=None)

    reason = gone_reason(facts, worker_id="w1", instance=None, claimed_at=NOW, started_at=None)
    assert reason is None


def test_an_unknown_worker_lives_on_what_it_sends():
    facts = Facts(now=NOW + timedelta(seconds=70), new_id=lambda: 1, workers={})
    hold = {"worker_id": "w1", "instance": None, "claimed_at": NOW, "started_at": NOW}

    assert gone_reason(facts, **hold) == "lease_expired"
    assert gone_reason(facts, **hold, heard_at=NOW + timedelta(seconds=30)) is None


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("heard_after", [0, 10, None])
def test_only_silence_that_could_have_been_heard_counts(
    heard_after: float | None,
    known: bool,  # noqa: FBT001 -- a case
) -> None:
    """L3: a heartbeat, a start or an event may have been lost while the path was down."""
    since = None if heard_after is None else NOW + timedelta(seconds=heard_after)
    worker = WorkerSeen(NOW, NOW - timedelta(days=1), None, heard_since=since)

    def reason(seconds: float, started_at: datetime | None) -> str | None:
        facts = Facts(
            now=NOW + timedelta(seconds=seconds + (heard_after or 0)),
            new_id=lambda: 1,
            workers={"w1": worker} if known else {},
            heard_since=NOW if known else since,
        )
        return gone_reason(
            facts, worker_id="w1", instance=None, claimed_at=NOW, started_at=started_at
        )

    assert (reason(30, None), reason(31, None)) == (None, "not_started")
    assert (reason(60, NOW), reason(61, NOW)) == (None, "lease_expired")


def test_start_and_outcome_write_what_claim_and_events_write():
    run, command = at_a()
    started, *rest = run.outcome_events(command)

    assert run.work_start(command, started).answer.body == {"status": "held"}
    change = run.decisions[-1].changes[0]
    assert (change.status, change.worker_id, change.instance) == ("RUNNING", "w1", "w1-process")
    assert run.finish(command, [started, *rest]).answer.body == {"status": "ok"}
    assert run.decisions[-1].changes[0].status == "COMPLETED"
    assert types(run)[2:] == RUN


def test_redelivered_while_a_runs_b_is_refused():
    run, command = at_a()
    run.work_start(command, run.outcome_events(command)[0])

    assert run.claim(command, "w2").answer.detail["code"] == "active_claim"


def test_start_accepted_but_its_ack_lost_gives_the_same_hold():
    run, command = at_a()
    run.work_start(command, run.outcome_events(command)[0])
    own = run.claim(command, "w1", after_start=True).answer
    other = run.claim(command, "w2", after_start=True).answer

    assert own.body["fast"]["attempts"] == 0
    assert other.status == 409


def test_start_sent_again_is_held_and_writes_nothing():
    run, command = at_a()
    started = run.outcome_events(command)[0]
    run.work_start(command, started)
    again = run.work_start(command, started)

    assert again.answer.body == {"status": "held"}
    assert not again.events


def test_start_lost_with_the_broker_while_b_claimed_is_lost():
    run, command = at_a()
    run.claim(command, "w2")
    decision = run.work_start(command, run.outcome_events(command)[0])

    assert decision.answer.body == {"status": "lost", "reason": "taken"}
    assert not decision.events


def test_outcome_sent_twice_is_answered_ok_and_written_once():
    run, command = at_a()
    events = run.outcome_events(command)
    first = run.finish(command, events)
    again = run.finish(command, events)

    assert first.answer.body == again.answer.body == {"status": "ok"}
    assert not again.events


def test_outcome_before_start_appends_all_four_rows():
    run, command = at_a()
    events = run.outcome_events(command)
    run.finish(command, events)
    start = run.work_start(command, events[0])

    assert types(run)[2:] == RUN
    assert start.answer.body == {"status": "held"}
    assert not start.events


def test_lease_over_but_nobody_else_granted_the_outcome_counts():
    run, command = at_a()
    events = run.outcome_events(command)
    run.work_start(command, events[0])
    run.wait(1000)
    run.workers = {}

    assert run.finish(command, events).answer.body == {"status": "ok"}
    assert run.claim(command, "w2").answer.status == 409


def test_outcome_of_the_old_attempt_is_late_and_decides_nothing():
    run, command = at_a()
    events = run.outcome_events(command)
    run.work_start(command, events[0])
    run.wait(1000)
    run.workers = {}
    run.claim(command, "w2")
    late = run.finish(command, events)

    assert late.answer.body == {"status": "late", "reason": "taken"}
    assert [row.event_type for row in late.events] == ["call.done", "command.completed"]
    assert all(row.meta["late"] is True for row in late.events)
    assert not run.ended
    assert run.finish(command, events).answer.body == {"status": "late", "reason": "taken"}
    assert not run.decisions[-1].events

    second = run.outcome_events(command, worker="w2", attempts=1)
    run.finish(command, second, worker="w2", attempts=1)
    assert run.ended == ["COMPLETED"]


def test_two_first_runs_the_recorded_one_counts():
    run, command = at_a()
    run.work_start(command, run.outcome_events(command)[0])
    other = run.outcome_events(command, worker="w2")

    assert run.work_start(command, other[0], worker="w2").answer.body["status"] == "lost"
    assert run.finish(command, other, worker="w2").answer.body["status"] == "late"


def test_cancelled_between_start_and_outcome():
    run, command = at_a()
    events = run.outcome_events(command)
    run.work_start(command, events[0])
    run.decide(cancel())
    outcome = run.finish(command, events)

    assert outcome.answer.body == {"status": "ok"}
    assert [row.event_type for row in outcome.events] == ["call.done", "command.completed"]
    assert not outcome.changes
    assert run.ended == ["CANCELLED"]


def test_a_start_after_the_cancel_is_lost():
    run, command = at_a()
    run.decide(cancel())

    answer = run.work_start(command, run.outcome_events(command)[0]).answer
    assert answer.body == {"status": "lost", "reason": "cancelled"}


def test_a_start_of_a_command_that_another_run_finished_is_lost():
    run, command = at_a()
    run.work("a")
    other = run.outcome_events(command, worker="w2")

    answer = run.work_start(command, other[0], worker="w2").answer
    assert answer.body == {"status": "lost", "reason": "finished"}


@pytest.mark.parametrize("changes", [{"attempts": 1}, {"instance": "another"}])
def test_the_fence_has_attempts_and_process(changes: dict[str, Any]):
    """Of an attempt that was not granted, of another process under the same name: not this run."""
    run, command = at_a()
    if "instance" in changes:
        run.work_start(command, run.outcome_events(command)[0])
    before = types(run)
    hold = run.hold(command).but(**changes)

    started, *rest = run.outcome_events(command)
    assert run.decide(command_start(hold, (started,))).answer.body["status"] == "lost"
    assert types(run) == before
    assert run.decide(command_outcome(hold, tuple(rest))).answer.body["status"] == "late"
    assert run.ended == []


def test_a_hold_of_another_command_id_fits_nothing():
    run, command = at_a()
    hold = run.hold(command)
    hold = hold.but(command_id="7000:a:1")

    started, *rest = run.outcome_events(command)
    assert run.decide(command_start(hold, (started,))).answer.body["status"] == "lost"
    assert run.decide(command_outcome(hold, tuple(rest))).answer.body["status"] == "late"


def test_events_of_an_earlier_attempt_are_stored_late():
    run, command = at_a()
    run.claim(command, "w1", http=True)
    run.wait(100)
    run.workers = alive(run, "w1")
    run.claim(command, "w1", http=True)
    run.wait(31)
    run.workers = {}
    run.claim(command, "w2", http=True)
    old = run.outcome_events(command)

    for event in old:
        decision = run.decide(posted((event,)))
        assert decision.answer.body["status"] == "late"
        assert decision.events[0].meta["late"] is True
    assert not run.ended


def test_the_attempt_tells_runs_of_one_worker_apart():
    run, command = at_a()
    run.claim(command, "w1", http=True)
    run.wait(100)
    run.workers = {}
    run.claim(command, "w2", http=True)
    run.wait(100)
    run.claim(command, "w1", http=True)
    first, third = run.outcome_events(command), run.outcome_events(command, attempts=2)

    assert run.decide(posted((first[-1],))).answer.body["status"] == "late"
    assert run.decide(posted((third[-1],))).answer.body["status"] == "ok"
    assert run.ended == ["COMPLETED"]


def test_events_without_a_claim_make_the_sender_the_holder():
    run, command = at_a()
    for event in run.outcome_events(command):
        assert run.decide(posted((event,))).answer.body["status"] == "ok"

    assert run.ended == ["COMPLETED"]
    assert types(run)[2:] == RUN[1:]


def test_a_posted_claim_of_a_held_command_is_refused_and_repeated_by_the_holder_harmless():
    run, command = at_a()
    run.claim(command, "w1", http=True)
    claim = {"status": "RUNNING"}
    mine = run.event(command, "command.claimed", "RUNNING", **claim)
    other = run.event(command, "command.claimed", "RUNNING", worker="w2", **claim)

    assert run.decide(posted((mine,))).answer.body["event_id"] == 0
    assert run.decide(posted((other,))).answer.error == "Command already claimed by w1"


def test_a_posted_claim_of_a_free_command_is_a_claim():
    run, command = at_a()
    event = run.event(command, "command.claimed", "RUNNING")
    decision = run.decide(posted((event,)))

    assert decision.answer.body["event_id"] == event.event_id
    assert decision.changes[0].status == "CLAIMED"
    assert run.claim(command, "w2").answer.status == 409


def with_time_limit() -> tuple[Run, NewCommand]:
    step = make_step("a", timeout_seconds=90.0)
    run = Run(make_playbook(make_step("start", "a"), step)).start().work("start")
    return run, run.find("a")


def test_a_step_time_limit_counts_from_the_claim():
    run, command = with_time_limit()
    run.wait(500)
    timer = run.claim(command, "w1").timers[0]

    assert timer.kind == "step_timeout"
    assert timer.payload == {"event_id": command.event_id, "holds": 1}
    assert timer.due_at == run.now + timedelta(seconds=90)
    assert command.meta["timeout_seconds"] == 90


def test_a_command_that_has_ended_already_gets_no_timer():
    run = Run(make_playbook(make_step("start", timeout_seconds=5.0))).start()
    command = run.find("start")

    assert not run.finish(command, run.outcome_events(command)).timers


def test_a_command_over_its_time_fails():
    run, command = with_time_limit()
    run.claim(command, "w1")
    run.wait(89)
    assert not run.decide(StepTimedOut(command.event_id)).events

    run.wait(1)
    run.decide(StepTimedOut(command.event_id))
    assert types(run)[-2:] == ["call.error", "command.failed"]
    assert run.rows[-2].result["context"]["error"] == "Execution timed out after 90 seconds"
    assert run.ended == ["FAILED"]


def test_the_time_limit_begins_anew_with_another_holder():
    run, command = with_time_limit()
    run.claim(command, "w1")
    run.wait(70)
    run.workers = {}
    run.claim(command, "w2")
    run.wait(30)

    assert not run.decide(StepTimedOut(command.event_id)).events
    assert not run.decide(StepTimedOut(command.event_id, holds=1)).events
    assert run.decide(StepTimedOut(command.event_id, holds=2)).events


def test_a_due_timer_counts_though_our_clock_is_behind_the_database_s():
    run, command = with_time_limit()
    run.claim(command, "w1")
    run.wait(89.99)

    assert run.decide(StepTimedOut(command.event_id, holds=1)).events


def test_a_late_timer_finds_nothing_to_do():
    run, command = with_time_limit()
    run.work("a")
    run.wait(100)

    assert not run.decide(StepTimedOut(command.event_id)).events
