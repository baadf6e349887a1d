"""A run that the control plane has ended is stopped, and nothing is reported of it."""

import asyncio

import orjson
import pytest
from message_worker import StartWorker
from noetl_contract.subjects import control_subject
from noetl_testkit.bus import flush
from noetl_testkit.waiting import eventually
from noetl_worker.commands import Command
from noetl_worker.transports.runs import Runs
from worker_control_plane import ControlPlane, make_command, make_notification


def a_command(event_id: int = 1, *, attempts: int = 0) -> Command:
    return Command(7, event_id, f"7:start:{event_id}", "start", "", "gate", {}, attempts=attempts)


async def test_a_hint_stops_a_tool_and_frees_its_slot(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    async with start_worker(permits=1) as worker:
        await flush(plane.bus)
        await plane.notify(make_notification(1, command=make_command("gate")))
        await eventually(lambda: worker.gate.running)

        hint = orjson.dumps({"execution_id": 7, "over": [[1, 0]]})
        await plane.bus.send(control_subject("shared"), hint)
        await eventually(lambda: worker.gate.killed)
        worker.gate.open.set()
        await plane.notify(make_notification(2, command=make_command("gate")))
        await plane.outcome(2)

    assert plane.of("outcome", 1) == []


async def test_a_heartbeat_finds_what_no_hint_told(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    plane.over_answer = lambda query: {"over": query["runs"]}
    async with start_worker() as worker:
        await plane.notify(make_notification(1, command=make_command("gate")))
        await eventually(lambda: worker.gate.running)

        assert await worker.transport.heartbeat()

        await eventually(lambda: worker.gate.killed)
    assert plane.of("outcome", 1) == []


@pytest.mark.parametrize(("told", "stopped"), [(0, False), (1, True), (2, True)])
async def test_a_run_of_a_later_attempt_goes_on(*, told: int, stopped: bool) -> None:
    runs, gate = Runs(), asyncio.Event()
    task = asyncio.create_task(runs.until_over(a_command(attempts=1), gate.wait()))
    await eventually(runs.named)

    runs.stop(1, attempts=told)
    runs.stop(3, attempts=told)
    if not stopped:
        gate.set()

    assert await task is (None if stopped else True)
    assert runs.named() == []


async def test_a_run_that_was_over_before_it_began_does_not_begin() -> None:
    runs = Runs()
    runs.stop(1, attempts=0)

    assert await runs.until_over(a_command(), asyncio.sleep(3600)) is None


async def test_a_hint_for_the_next_attempt_is_kept_while_the_former_runs() -> None:
    runs, gate = Runs(), asyncio.Event()
    former = asyncio.create_task(runs.until_over(a_command(), gate.wait()))
    await eventually(runs.named)

    runs.stop(1, attempts=1)

    assert await former is None
    assert await runs.until_over(a_command(attempts=1), asyncio.sleep(3600)) is None


async def test_a_cancellation_from_elsewhere_goes_on() -> None:
    runs = Runs()
    task = asyncio.create_task(runs.until_over(a_command(), asyncio.sleep(3600)))
    await eventually(runs.named)

    runs.stop(1, attempts=0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_tool_that_does_not_stop_reports_nothing_either() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return "all the same"
        return "in time"

    runs = Runs()
    task = asyncio.create_task(runs.until_over(a_command(), stubborn()))
    await eventually(runs.named)
    await asyncio.sleep(0)

    runs.stop(1, attempts=0)

    assert await task is None
