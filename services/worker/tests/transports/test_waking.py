"""Waits for an orchestrator end as soon as one of the worker's messages is answered."""

from dataclasses import replace

import pytest
from message_worker import QUICK, StartWorker
from noetl_common.errors import Unavailable
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from worker_control_plane import ControlPlane, granted, make_command, make_notification

LONG = 10 * PATIENCE_SECONDS
WAITING = replace(
    QUICK,
    claim_pause_seconds=LONG,
    claim_longest_pause_seconds=LONG,
    claim_give_up_seconds=10 * LONG,
)


def in_doubt(event_id: int) -> dict[str, object]:
    return make_notification(event_id, command=make_command(), seconds=-1)


@pytest.mark.parametrize("kind", ["noop", "gate"])
async def test_claims_in_a_pause_are_asked_again_when_another_command_is_answered(
    plane: ControlPlane, start_worker: StartWorker, kind: str
) -> None:
    """By its outcome, or by its start."""
    plane.claim_answer = lambda request, number: (
        {"status": "retry"}
        if number == 1
        else granted(in_doubt(request["event_id"]), make_command())
    )
    async with start_worker(timing=WAITING) as worker:
        for event_id in (1, 2):
            await plane.notify(in_doubt(event_id))
        wake = worker.transport._claims.wake
        await eventually(lambda: len(wake._asleep) == 2, what="both pause")
        await plane.notify(make_notification(3, command=make_command(kind)))
        await plane.outcome(1)
        await plane.outcome(2)
        worker.gate.open.set()
        await plane.outcome(3)

    assert sorted(one["event_id"] for one in plane.claims) == [1, 1, 2, 2]


async def test_one_granted_claim_wakes_the_others(
    plane: ControlPlane, start_worker: StartWorker
) -> None:
    plane.claim_answer = lambda request, number: (
        {"status": "retry"}
        if number == 1 and request["event_id"] < 3
        else granted(in_doubt(request["event_id"]), make_command("gate"))
    )
    async with start_worker(timing=WAITING) as worker:
        for event_id in (1, 2):
            await plane.notify(in_doubt(event_id))
        wake = worker.transport._claims.wake
        await eventually(lambda: len(wake._asleep) == 2, what="both pause")
        await plane.notify(in_doubt(3))
        await eventually(lambda: worker.gate.running == 3, what="all have begun")
        worker.gate.open.set()


async def test_claims_and_outcomes_are_sent_again_when_the_broker_is_back(
    plane: ControlPlane, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    timing = replace(WAITING, outcome_pause_seconds=LONG, outcome_longest_pause_seconds=LONG)
    plane.claim_answer = lambda _request, number: (
        {"status": "retry"} if number == 1 else granted(in_doubt(1), make_command("gate"))
    )
    async with start_worker(timing=timing) as worker:
        channel = worker.transport._messages.channel
        send = channel.send

        async def fail(*_args: object, **_options: object) -> bool:
            raise Unavailable(what="the stream")

        monkeypatch.setattr(channel, "send", fail)
        await plane.notify(in_doubt(1))
        await plane.notify(make_notification(2, command=make_command()))
        wakes = (worker.transport._claims.wake, worker.transport._messages.wake)
        await eventually(lambda: all(one._asleep for one in wakes), what="both pause")
        monkeypatch.setattr(channel, "send", send)
        worker.bus.on_reconnect(worker.transport.wake)
        await worker.bus.nc.force_reconnect()
        await plane.outcome(2)
        await eventually(lambda: worker.gate.running, what="the claim is granted")
        worker.gate.open.set()
        await plane.outcome(1)
