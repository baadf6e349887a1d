"""Commands that name their workload, as a worker reads them."""

from typing import Any

import orjson
import pytest
from message_worker import StartWorker
from noetl_contract.commands import short_context
from noetl_testkit.waiting import eventually
from noetl_worker.commands import (
    UndecodableClaim,
    command_of,
    decode_claim,
    decode_notification,
)
from noetl_worker.workloads import KnownWorkload, Workloads
from worker_control_plane import ControlPlane, granted, make_command, make_notification

WORKLOAD = {"rows": [{"id": 1}, {"id": 2}], "token": "s3cret-of-the-payload"}


def make_short(action: str = "noop", *, config: Any = None, **own: Any) -> dict[str, Any]:
    """Return a command whose context names `WORKLOAD`, at position 1."""
    flat = {**WORKLOAD, "workload": WORKLOAD, **own}
    command = make_command(action, config=config, variables={**flat, "ctx": flat})
    short = short_context(command["context"], WORKLOAD, position=1)
    return {**command, "context": short}


def named(event_id: int, command: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a notification with a command that names its workload."""
    note = make_notification(event_id, command={}, **changes)
    del note["fast"]["command"]
    note["fast"]["named"] = command
    return note


def test_a_named_command_is_read_once_its_workload_is_known() -> None:
    note = decode_notification(orjson.dumps(named(5, make_short(row={"id": 2}))))
    workloads = Workloads(1000)

    assert command_of(note, workloads) is None
    workloads.keep(7, KnownWorkload(1, WORKLOAD))
    command = command_of(note, workloads)

    assert command is not None
    scope = command.context["render_context"]
    assert scope["rows"] == scope["workload"]["rows"] == scope["ctx"]["rows"] == WORKLOAD["rows"]
    assert scope["row"] == scope["ctx"]["row"] == {"id": 2}
    assert "named_workload" not in command.context


def test_the_workload_of_another_row_is_not_taken_for_it() -> None:
    """A restart may have changed it."""
    note = decode_notification(orjson.dumps(named(5, make_short())))
    workloads = Workloads(1000)
    workloads.keep(7, KnownWorkload(9, {"rows": []}))

    assert command_of(note, workloads) is None


def test_a_claim_brings_the_workload_and_it_is_kept() -> None:
    body = make_notification(5)
    note = decode_notification(orjson.dumps(body))
    answer = granted(body, make_short(row=1))
    workloads = Workloads(1000)

    with pytest.raises(UndecodableClaim, match="workload"):
        decode_claim(answer, note, workloads)
    first = decode_claim({**answer, "workload": WORKLOAD}, note, workloads)
    second = decode_claim(answer, note, workloads)

    assert first.context == second.context
    assert first.context["render_context"]["workload"] == WORKLOAD
    assert workloads.position(7) == 1


def test_a_bound_of_bytes_forgets_what_was_not_used_for_long() -> None:
    workloads = Workloads(250)
    for execution_id in (1, 2):
        workloads.keep(execution_id, KnownWorkload(1, {"text": "x" * 100}))
    workloads.find(1)

    workloads.keep(3, KnownWorkload(1, {"text": "x" * 100}))
    workloads.keep(4, KnownWorkload(1, {"text": "x" * 500}))
    workloads.keep(3, KnownWorkload(2, {"text": "y" * 100}))

    assert [workloads.position(one) for one in (1, 2, 3, 4)] == [1, 0, 2, 0]


def test_a_whole_command_is_read_as_it_is() -> None:
    body = make_notification(5, command=make_command(variables={"workload": WORKLOAD}))
    note = decode_notification(orjson.dumps(body))

    command = command_of(note, Workloads(1000))

    assert command is not None
    assert command.context["render_context"] == {"workload": WORKLOAD}
    claimed = granted(body, make_command(variables={"workload": WORKLOAD}))
    assert decode_claim(claimed, note, Workloads(1000)).context == command.context


@pytest.mark.parametrize("both", [True, False])
def test_the_plain_reader_and_the_model_read_the_same(*, both: bool) -> None:
    body = named(5, make_short(), trace={"traceparent": "00"})
    if both:
        body["fast"]["command"] = make_command()
    plain = decode_notification(orjson.dumps(body))
    by_model = decode_notification(orjson.dumps({**body, "command_id": 5}))

    assert plain.fast == by_model.fast


async def test_only_the_first_of_many_commands_is_claimed(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    """Templates see the workload, and its secrets stay masked, wherever it came from."""
    call = make_short("http", config={"url": "http://127.0.0.1:9/{{ workload.token }}"})
    notes = [named(event_id, call) for event_id in (101, 102, 103)]
    plane.claim_answer = lambda request, _count: {
        **granted(notes[0], call),
        "event_id": request["event_id"],
        "workload": WORKLOAD,
    }
    async with start_worker():
        for note in notes:
            await plane.notify(note)
            outcome = await plane.outcome(note["event_id"])
            text = orjson.dumps(outcome["events"]).decode()
            assert "call.error" in text
            assert "127.0.0.1:9/[REDACTED]" in text
            assert "s3cret-of-the-payload" not in text

    assert [(one["event_id"], one["known_workload"]) for one in plane.claims] == [(101, 0)]


async def test_a_worker_that_keeps_none_claims_each(
    plane: ControlPlane, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Workloads, "keep", lambda *_arguments: None)
    plane.claim_answer = lambda request, _count: {
        **granted(make_notification(request["event_id"]), make_short()),
        "workload": WORKLOAD,
    }
    async with start_worker():
        for event_id in (101, 102):
            await plane.notify(named(event_id, make_short()))
        await eventually(lambda: len(plane.of("outcome", 102)) == 1)
        await plane.outcome(101)

    assert {one["event_id"] for one in plane.claims} == {101, 102}
