"""Posted events: rows, answers, repetitions, colliding ids, and events without effect."""

from typing import Any

import pytest
from engine_driver import (
    EXECUTION_ID,
    NOW,
    Run,
    cancel,
    finalize,
    make_loop,
    make_playbook,
    make_step,
    posted,
)
from noetl_contract.ingress import WireEvent
from noetl_engine.execution import Execution
from noetl_engine.outputs import NewCommand

PLAYBOOK = make_playbook(make_step("start", "a"), make_step("a"))


def at_a() -> tuple[Run, NewCommand]:
    run = Run(PLAYBOOK).start().work("start")
    command = run.find("a")
    run.claim(command, "w1", http=True)
    return run, command


def post(run: Run, *events: WireEvent, batch: bool = False, **facts: Any) -> Any:
    return run.decide(posted(events, batch=batch), **facts)


def test_an_event_becomes_the_row_the_contract_describes():
    run, command = at_a()
    event = run.outcome_events(command, data={"x": 1})[1]
    row = post(run, event).events[0]

    assert row.event_id == event.event_id
    assert (row.node_id, row.node_name, row.status) == ("a", "a", "COMPLETED")
    assert row.result == {"status": "COMPLETED", "context": event.context}
    assert row.meta == {"attempts": 0, "actionable": True, "informative": True, "worker_id": "w1"}
    assert row.worker_id is None
    assert row.context is None
    assert row.created_at == event.created_at
    assert row.catalog_id == 42


def test_an_answer_has_the_stored_id():
    run, command = at_a()
    event = run.outcome_events(command)[0]

    assert post(run, event).answer.body == {
        "status": "ok",
        "event_id": event.event_id,
        "commands_generated": 0,
    }


def test_a_batch_gets_ids_and_fills_the_worker_column():
    run, command = at_a()
    context = {"command_id": command.command_id}
    events = [
        WireEvent(event_type=kind, step="a", context=context, worker_id="w1", actionable=False)
        for kind in ("call.done", "command.completed")
    ]
    decision = post(run, *events, batch=True)

    ids = [row.event_id for row in decision.events[:2]]
    assert decision.answer.body == {"status": "ok", "event_ids": ids, "commands_generated": 0}
    assert [row.worker_id for row in decision.events[:2]] == ["w1", "w1"]
    assert [row.status for row in decision.events[:2]] == ["COMPLETED", "COMPLETED"]
    assert decision.events[0].created_at == NOW
    assert run.ended == ["COMPLETED"]


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        ({"context": {"a": 1}}, {"status": "S", "context": {"a": 1}}),
        ({"context": [1]}, {"status": "S"}),
        (
            {"result_kind": "ref", "result_uri": "gs://b/o"},
            {"status": "S", "reference": {"store_tier": "gcs", "logical_uri": "gs://b/o"}},
        ),
        (
            {"result_kind": "ref", "result_uri": "s3://b/o"},
            {"status": "S", "reference": {"store_tier": "s3", "logical_uri": "s3://b/o"}},
        ),
        (
            {"result_kind": "ref", "result_uri": "noetl://x"},
            {"status": "S", "reference": {"store_tier": "artifact", "logical_uri": "noetl://x"}},
        ),
        (
            {"result_kind": "refs", "event_ids": [1, 2]},
            {"status": "S", "reference": {"event_ids": [1, 2], "total_parts": 2}},
        ),
        ({"result_kind": "ref", "context": {"a": 1}}, {"status": "S", "context": {"a": 1}}),
    ],
)
def test_a_result_takes_its_form_from_the_kind(fields: dict[str, Any], result: Any) -> None:
    run, _ = at_a()
    row = post(run, WireEvent(event_type="note", step="x", status="S", **fields)).events[0]

    assert row.result == result


def test_a_meta_that_is_no_object_is_stored_as_it_is():
    run, _ = at_a()

    assert post(run, WireEvent(event_type="n", step="x", meta=[1])).events[0].meta == [1]


@pytest.mark.parametrize("event_type", ["load-smoke", "command.heartbeat", "call.done"])
def test_events_of_unknown_steps_are_stored_without_effect(event_type: str) -> None:
    run, _ = at_a()
    before = run.execution.progress
    event = WireEvent(event_type=event_type, step="nowhere", event_id=77, context={"x": 1})
    decision = post(run, event)

    assert decision.answer.body == {"status": "ok", "event_id": 77, "commands_generated": 0}
    assert [row.event_type for row in decision.events] == [event_type]
    assert before == run.execution.progress


@pytest.mark.parametrize(
    "event_type",
    [
        "step.enter",
        "step.exit",
        "step.skipped",
        "ctx.updated",
        "command.issued",
        "playbook_started",
    ],
)
def test_the_engine_s_own_types_have_no_effect_from_outside(event_type: str) -> None:
    run, command = at_a()
    snapshot = run.execution.snapshot()
    context = {"command_id": command.command_id, "values": {"x": 1}, "iterations_expected": 3}
    post(run, WireEvent(event_type=event_type, step="a", event_id=5, context=context))
    post(run, *run.outcome_events(command), batch=True)

    assert run.ended == ["COMPLETED"]
    assert snapshot != run.execution.snapshot()
    replayed = Execution.restore(EXECUTION_ID, None, run.rows)
    assert replayed.snapshot() == run.execution.snapshot()


def test_an_outcome_without_a_command_id_belongs_to_the_only_open_command():
    run, _ = at_a()
    post(run, WireEvent(event_type="call.done", step="a", context={"output": 1}))
    post(run, WireEvent(event_type="command.completed", step="a"))

    assert run.ended == ["COMPLETED"]


def test_an_outcome_without_a_command_id_ends_no_iteration():
    loop = make_loop([1, 2], "parallel")
    run = Run(make_playbook(make_step("start", loop=loop))).start()
    decision = post(run, WireEvent(event_type="command.completed", step="start"))

    assert len(decision.events) == 1
    assert not run.ended


def test_a_second_outcome_of_the_same_run_is_stored_late():
    run, command = at_a()
    for event in run.outcome_events(command):
        post(run, event)
    decision = post(run, run.outcome_events(command, fails=True)[-1])

    assert decision.answer.body["status"] == "late"
    assert len(decision.events) == 1
    assert run.ended == ["COMPLETED"]


def test_a_repeated_event_has_one_effect_and_the_same_answer():
    run, command = at_a()
    for event in run.outcome_events(command):
        first = post(run, event)
        again = post(run, event)

        assert first.answer == again.answer
        assert not again.events


def test_an_equal_id_with_other_content_gets_a_fresh_one():
    run, command = at_a()
    started, done, completed = run.outcome_events(command)
    other = WireEvent(event_type="note", step="x", event_id=started.event_id, worker_id="w9")
    post(run, other)
    decision = post(run, started)

    stored = decision.events[0].event_id
    assert stored != started.event_id
    assert decision.answer.body["event_id"] == stored
    assert post(run, started).answer.body["event_id"] == stored
    assert not run.decisions[-1].events
    post(run, done)
    post(run, completed)
    assert run.ended == ["COMPLETED"]


def test_cancel_answers_and_revokes():
    run, command = at_a()
    decision = run.decide(cancel(reason="enough"))

    assert decision.answer.body == {
        "execution_id": EXECUTION_ID,
        "status": "cancelled",
        "message": "Execution cancellation requested",
        "cancelled_executions": [str(EXECUTION_ID)],
    }
    row = decision.events[0]
    assert (row.event_type, row.node_id, row.node_name) == (
        "playbook_cancelled",
        "playbook",
        "playbook",
    )
    assert (row.status, row.result, row.context, row.error) == ("CANCELLED", None, None, None)
    assert row.meta == {"reason": "enough"}
    assert decision.ended == "CANCELLED"
    assert [(change.event_id, change.status) for change in decision.changes] == [
        (command.event_id, "CANCELLED")
    ]
    assert decision.changes[0].ended_at is not None
    assert decision.changes[0].lease_until is None


def test_a_finished_execution_can_not_be_cancelled():
    run, _ = at_a()
    run.work("a")
    decision = run.decide(cancel())

    assert (decision.answer.status, decision.answer.error) == (
        422,
        "Cannot cancel execution in COMPLETED state",
    )
    assert not decision.events


def test_finalize_ends_and_a_second_time_changes_nothing():
    run, _ = at_a()
    first = run.decide(finalize("FAILED", error="forced"))
    again = run.decide(finalize("COMPLETED"))

    assert first.answer.body["message"] == "Execution finalized with status: FAILED"
    row = first.events[0]
    assert (row.event_type, row.error, row.result, row.meta) == (
        "playbook_failed",
        "forced",
        None,
        None,
    )
    assert (first.ended, first.error) == ("FAILED", "forced")
    assert again.answer.body == {
        "execution_id": EXECUTION_ID,
        "status": "FAILED",
        "message": "Execution already in FAILED state",
    }
    assert not again.events


@pytest.mark.parametrize("event_type", ["playbook.cancelled", "execution.cancelled"])
def test_every_spelling_of_cancelled_ends_the_execution(event_type: str) -> None:
    run, command = at_a()
    post(run, WireEvent(event_type=event_type, step="playbook", event_id=9))

    assert run.ended == ["CANCELLED"]
    assert run.claim(command, "w2").answer.error == "Execution has been cancelled"
    second = post(run, WireEvent(event_type="playbook.completed", step="playbook"))
    assert second.answer.body["status"] == "late"
    assert run.ended == ["CANCELLED"]


def test_an_execution_nobody_started_is_unknown():
    execution = Execution.new(5)
    run = Run(PLAYBOOK)
    decision = execution.decide(PLAYBOOK, cancel(), run.facts())

    assert (decision.answer.status, decision.answer.error) == (404, "Execution not found: 5")
