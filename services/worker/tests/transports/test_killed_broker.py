"""A killed broker forgets what it has delivered in its last moments, and delivers it as new."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from itertools import count

import pytest
from message_worker import REPEATING, StartWorker, Worker
from noetl_testkit.nats import NatsServer
from noetl_testkit.waiting import eventually
from worker_control_plane import ControlPlane, control_plane, make_command, make_notification

AT_ONCE = 8


@pytest.fixture
async def plane(own_nats: NatsServer) -> AsyncIterator[ControlPlane]:
    async with control_plane(own_nats.url) as made:
        yield made


def runs(plane: ControlPlane) -> dict[int, set[str]]:
    """Return the processes that have reported a run, by command."""
    found: dict[int, set[str]] = defaultdict(set)
    for message in plane.messages:
        found[message["hold"]["event_id"]].add(message["hold"]["instance"])
    return found


def came_again(plane: ControlPlane) -> set[int]:
    """Return the commands that one worker has reported, and another one has claimed."""
    told = runs(plane)
    return {
        one["event_id"]
        for one in plane.claims
        if told[one["event_id"]] and one["instance"] not in told[one["event_id"]]
    }


@pytest.mark.parametrize("kind", ["noop", "gate"])
async def test_what_comes_again_as_new_is_claimed(
    plane: ControlPlane, own_nats: NatsServer, start_worker: StartWorker, kind: str
) -> None:
    """Some of it had been acknowledged (the quick tools), some was held (the others)."""
    event_ids = count(1)

    async def kill_amid_work(workers: tuple[Worker, Worker]) -> None:
        held = [worker.gate for worker in workers]
        began = sum(gate.runs for gate in held)
        first = next(event_ids)
        await plane.notify(note(first))
        for _ in range(AT_ONCE - 1):
            await plane.notify(note(next(event_ids)))
        if kind == "noop":
            await plane.outcome(first)
        else:
            await eventually(lambda: sum(gate.runs for gate in held) > began, what="one runs")
        breaks = [worker.hearing.breaks for worker in workers]
        await asyncio.to_thread(own_nats.restart)
        await eventually(
            lambda: all(
                worker.hearing.is_sure and worker.hearing.breaks > before
                for worker, before in zip(workers, breaks, strict=True)
            ),
            what="both are back",
        )
        for gate in held:
            gate.open.set()
        await asyncio.sleep(0)
        await eventually(lambda: not any(gate.running for gate in held), what="all have ended")
        for gate in held:
            gate.open.clear()

    def note(event_id: int) -> dict[str, object]:
        return make_notification(event_id, command=make_command(kind))

    async with (
        start_worker(url=own_nats.url, name="w-1", timing=REPEATING) as one,
        start_worker(url=own_nats.url, name="w-2", timing=REPEATING) as other,
    ):

        async def has_come_again() -> bool:
            await kill_amid_work((one, other))
            return bool(came_again(plane))

        await eventually(has_come_again, what="a command comes again")

    assert {event_id: len(found) for event_id, found in runs(plane).items() if len(found) > 1} == {}
