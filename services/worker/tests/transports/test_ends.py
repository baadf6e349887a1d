"""Of an execution that has ended no command is begun, wherever it waits in the worker."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from message_worker import StartWorker, Worker
from noetl_bus.inbox import Incoming
from noetl_bus.topology import ensure_topology
from noetl_contract.rpc import RpcReply
from noetl_contract.streams import STREAMS, pool_durable
from noetl_contract.subjects import control_subject
from noetl_testkit.bus import flush
from noetl_testkit.waiting import eventually
from noetl_worker.transports.fast.timing import Timing
from noetl_worker.transports.runs import EndedExecutions
from request_listener import deliver, listening, until_unacked
from worker_control_plane import ControlPlane, granted, make_command, make_notification

ENDED = 8


async def tell_end(plane: ControlPlane, worker: Worker, execution_id: int = ENDED) -> None:
    """Let a worker hear that an execution is over, although nobody knows of a run of it."""
    await flush(plane.bus)
    hint = {"execution_id": execution_id, "over": [], "ended": True}
    await plane.bus.send(control_subject("shared"), orjson.dumps(hint))
    await eventually(lambda: execution_id in worker.transport._runs._ended, what="it is heard")


def note_of(event_id: int, execution_id: int = ENDED, kind: str = "gate") -> dict[str, Any]:
    return make_notification(event_id, execution_id=execution_id, command=make_command(kind))


async def test_what_waits_in_the_queue_is_not_begun(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    async with start_worker(permits=1) as worker:
        await plane.notify(note_of(1, 7))
        await eventually(lambda: worker.gate.running, what="the slot is taken")
        for event_id in (2, 3, 4):
            await plane.notify(note_of(event_id))
        await plane.notify(note_of(5, 7))
        await tell_end(plane, worker)
        worker.gate.open.set()
        await plane.outcome(5)
        await until_unacked(plane, 0, what="all are acknowledged")

    assert worker.gate.runs == 2
    assert {one["hold"]["event_id"] for one in plane.messages} == {1, 5}
    assert plane.claims == [], "it needs no asking"


async def test_what_runs_is_stopped_although_nobody_was_told_of_it(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    async with start_worker(timing=Timing(start_after_seconds=60)) as worker:
        await plane.notify(note_of(1))
        await eventually(lambda: worker.gate.running, what="it runs")
        await tell_end(plane, worker)
        await eventually(lambda: worker.gate.killed, what="it is stopped")
        await until_unacked(plane, 0, what="it is acknowledged")

    assert plane.messages == []


async def test_a_command_that_came_with_an_answer_is_not_begun(
    plane: ControlPlane, start_worker: StartWorker, patient_requests: Callable[[], None]
) -> None:
    async with (
        listening(plane, lambda _message, _incoming: None) as listener,
        start_worker(permits=1, timing=Timing(next_seconds=60, next_wait_seconds=60)) as worker,
    ):
        await plane.notify(note_of(1, kind="noop"))
        await eventually(lambda: listener.heard, what="the first has run")
        await plane.notify(note_of(2, 7))
        await eventually(lambda: worker.gate.running, what="the second has the slot")
        deliver(worker, listener.heard[0], {"status": "ok", "next": note_of(3)})
        patient_requests()
        await tell_end(plane, worker)
        worker.gate.open.set()
        await plane.outcome(2)
        await until_unacked(plane, 0, what="all are acknowledged")

    assert worker.gate.runs == 1
    assert plane.of("start", 3) == plane.of("outcome", 3) == []


@pytest.mark.parametrize("is_over", [True, False])
async def test_what_was_stored_before_the_connection_is_claimed(
    plane: ControlPlane, start_worker: StartWorker, *, is_over: bool
) -> None:
    """Of its end nothing was heard, if there was one."""

    def answer(request: dict[str, Any], _count: int) -> RpcReply | dict[str, Any]:
        if is_over:
            return RpcReply(status=409, error="Execution has been cancelled")
        return granted(note_of(request["event_id"]), make_command("gate"))

    plane.claim_answer = answer
    async with start_worker(permits=1) as worker:
        await plane.notify(note_of(1, 7))
        await eventually(lambda: worker.gate.running, what="the slot is taken")
        # Else its start may be stored without an acknowledgement, and would be claimed too.
        await until_unacked(plane, 0, what="it is told of")
        await plane.notify(note_of(2))
        breaks = worker.hearing.breaks
        await worker.bus.nc.force_reconnect()
        await eventually(lambda: worker.hearing.breaks > breaks, what="the connection is lost")
        await eventually(lambda: worker.hearing.is_sure, what="it hears again")
        await plane.notify(note_of(3, 7))
        worker.gate.open.set()
        await plane.outcome(3)
        await until_unacked(plane, 0, what="all are acknowledged")

    assert [one["event_id"] for one in plane.claims] == [2]
    assert len(plane.of("outcome", 2)) == (not is_over)


@pytest.mark.parametrize("is_answered_before", [True, False])
async def test_what_came_with_an_answer_before_the_connection_is_claimed(
    plane: ControlPlane,
    start_worker: StartWorker,
    patient_requests: Callable[[], None],
    *,
    is_answered_before: bool,
) -> None:
    """Also if the outcome was sent before: an end may come between its commit and the answer."""

    def answer(_message: dict[str, Any], _incoming: Incoming) -> None:
        return None

    async with (
        listening(plane, answer) as listener,
        start_worker(permits=1, timing=Timing(next_seconds=60, next_wait_seconds=60)) as worker,
    ):
        await plane.notify(note_of(1, kind="noop"))
        await eventually(lambda: listener.heard, what="the first has run")
        await plane.notify(note_of(2, 7))
        await eventually(lambda: worker.gate.running, what="the second has the slot")
        if is_answered_before:
            deliver(worker, listener.heard[0], {"status": "ok", "next": note_of(3)})
        worker.hearing.lose()
        if not is_answered_before:
            deliver(worker, listener.heard[0], {"status": "ok", "next": note_of(3)})
        patient_requests()
        worker.gate.open.set()
        await plane.outcome(2)
        await eventually(lambda: plane.claims, what="it asks first")
        await until_unacked(plane, 0, what="all are acknowledged")

    assert [one["event_id"] for one in plane.claims] == [3]
    assert worker.gate.runs == 1


async def test_a_worker_that_hears_claims_nothing_of_a_long_queue(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    async with start_worker(permits=2) as worker:
        for event_id in range(1, 101):
            await plane.notify(note_of(event_id, 7))
        await eventually(lambda: worker.gate.running == 2, what="all slots are taken")
        worker.gate.open.set()
        await asyncio.gather(*(plane.outcome(event_id) for event_id in range(1, 101)))

    assert plane.claims == []


async def test_a_stream_that_was_made_again_is_noticed(
    plane: ControlPlane, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("noetl_worker.transports.hearing._LOOK_SECONDS", 0.05)
    for event_id in (1, 2, 3):
        await plane.notify(note_of(event_id))
    async with start_worker() as worker:
        assert not worker.hearing.covers(3)
        assert worker.hearing.covers(4)
        await plane.bus.js.delete_stream("NOETL_COMMANDS")
        await ensure_topology(plane.bus, STREAMS, (pool_durable("shared"),))
        await eventually(lambda: worker.hearing.covers(1), what="it counts from 1 again")


def test_ends_are_forgotten_after_minutes() -> None:
    now = 0.0
    ended = EndedExecutions(lambda: now)
    ended.add(1)
    now = 130.0
    ended.add(2)
    assert 1 in ended
    assert 2 in ended
    now = 260.0
    ended.add(3)
    assert 1 not in ended
    assert 2 in ended
