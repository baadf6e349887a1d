"""L7: slots of a worker that serves more than one execution."""

import pytest
from message_worker import StartWorker
from noetl_testkit.waiting import eventually
from noetl_worker import metrics
from worker_control_plane import ControlPlane, granted, make_command, make_notification

GREEDY, OTHER = 7, 8


async def _notify(plane: ControlPlane, execution_id: int, event_ids: range) -> None:
    for event_id in event_ids:
        note = make_notification(event_id, execution_id=execution_id, command=make_command("gate"))
        await plane.notify(note)


def _begun(plane: ControlPlane, execution_id: int) -> int:
    """Count the commands that were reported, by their start or by a quick outcome."""
    told = [one for one in plane.messages if one["execution_id"] == execution_id]
    return len({one["hold"]["event_id"] for one in told})


def _grant_all(plane: ControlPlane) -> None:
    def grant(request: dict[str, int], _count: int) -> dict[str, object]:
        note = make_notification(request["event_id"], execution_id=request["execution_id"])
        return granted(note, make_command("gate"))

    plane.claim_answer = grant


async def test_an_execution_with_many_slow_commands_leaves_slots_to_others(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    _grant_all(plane)
    await _notify(plane, GREEDY, range(1, 41))
    await _notify(plane, OTHER, range(101, 102))

    async with start_worker(permits=4, share=0.75, slow_seconds=0.0) as worker:
        await eventually(lambda: worker.gate.running == 4, what="all slots are in use")
        await eventually(
            lambda: _begun(plane, GREEDY) + _begun(plane, OTHER) == 4, what="they are told of"
        )
        shares = (_begun(plane, GREEDY), _begun(plane, OTHER))
        worker.gate.open.set()
        await eventually(lambda: _begun(plane, GREEDY) == 40, what="what was put off is run")

    assert shares == (3, 1)


async def test_alone_it_has_all_slots(plane: ControlPlane, start_worker: StartWorker) -> None:
    _grant_all(plane)
    await _notify(plane, GREEDY, range(1, 11))

    async with start_worker(permits=4, share=0.75, slow_seconds=0.0) as worker:
        await eventually(lambda: worker.gate.running == 4, what="all slots are in use")
        worker.gate.open.set()


async def test_where_slots_change_hands_quickly_nothing_is_put_off(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    async with start_worker(permits=4, share=0.25, slow_seconds=60.0) as worker:
        await _notify(plane, GREEDY, range(1, 41))
        worker.gate.open.set()
        await eventually(lambda: _begun(plane, GREEDY) == 40, what="all are run")

    assert plane.claims == []


async def test_a_command_that_waits_for_its_answer_holds_no_slot(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    plane.outcome_answer = lambda _message, _count: None
    async with start_worker(permits=1, share=1, slow_seconds=0.0) as worker:
        await _notify(plane, GREEDY, range(1, 21))
        worker.gate.open.set()
        await eventually(lambda: _begun(plane, GREEDY) == 20, what="all are run")
        put_off = list(plane.claims)
        plane.outcome_answer = lambda _message, _count: {"status": "ok"}

    assert put_off == []


@pytest.mark.slow
async def test_a_worker_that_can_begin_no_script_leaves_commands_to_others(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    _grant_all(plane)
    async with start_worker(name="ill", is_able=lambda: False) as ill:
        await _notify(plane, GREEDY, range(1, 6))
        await eventually(lambda: metrics.PUT_OFF._value.get() > 0, what="they are given back")
        async with start_worker(name="well", permits=8) as well:
            await eventually(lambda: well.gate.running == 5, what="another one has them")
            well.gate.open.set()
            await eventually(lambda: _begun(plane, GREEDY) == 5, what="they are told of")

    assert ill.gate.runs == 0


async def test_a_worker_that_is_able_again_takes_what_it_gave_back(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    _grant_all(plane)
    before = metrics.PUT_OFF._value.get()
    is_able = False
    async with start_worker(is_able=lambda: is_able) as worker:
        await _notify(plane, GREEDY, range(1, 3))
        await eventually(lambda: metrics.PUT_OFF._value.get() > before, what="they are given back")
        is_able = True
        await eventually(lambda: worker.gate.running == 2, what="it has them after all")
        worker.gate.open.set()
