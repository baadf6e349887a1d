"""While a worker stands still the broker gives what it holds to others; it claims that then."""

import asyncio
import time
from threading import Thread
from typing import Any

import orjson
import pytest
from message_worker import StartWorker
from noetl_common.bus import delivery, standing
from noetl_common.bus.broker import connect
from noetl_common.bus.jetstream import consumer_info
from noetl_common.bus.standing import StandingPull
from noetl_common.settings import NatsSettings
from noetl_contract.streams import pool_durable
from noetl_contract.subjects import command_subject
from noetl_testkit.waiting import eventually, unless_it_hangs
from worker_control_plane import ControlPlane, make_command, make_notification

NOTE = make_notification(1, command=make_command())


class StoppedClock:
    """A monotonic clock that leaps where the process stands still."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StoppedClock:
    made = StoppedClock()
    for module in (standing, delivery):
        monkeypatch.setattr(module, "monotonic", made)
    return made


def deliver_while_it_stands_still(nats_url: str, clock: StoppedClock) -> None:
    """Block this thread, and with it the worker, until the broker has sent it a command."""

    async def publish() -> None:
        durable = pool_durable("shared")
        async with connect(NatsSettings(nats_url=nats_url), name="other") as bus:
            subject = command_subject("shared", execution_id=7)
            await bus.publish(subject, orjson.dumps(NOTE), message_id=None)

            async def is_sent() -> bool:
                info = await consumer_info(bus, durable.stream, durable.name)
                return info is not None and info.unanswered == 1

            await eventually(is_sent, what="it is on its way")

    thread = Thread(target=lambda: asyncio.run(publish()))
    thread.start()
    thread.join()
    clock.ahead += 8.0


async def test_what_came_meanwhile_is_claimed(
    plane: ControlPlane, start_worker: StartWorker, nats_url: str, clock: StoppedClock
) -> None:
    async with start_worker():
        await plane.notify(make_notification(2, command=make_command()))
        await plane.outcome(2)
        deliver_while_it_stands_still(nats_url, clock)
        await eventually(lambda: plane.claims, what="it asks first")

    assert [one["event_id"] for one in plane.claims] == [1]
    assert plane.of("outcome", 1) == []


@pytest.mark.parametrize("is_reported", [False, True])
async def test_what_was_held_meanwhile_is_in_doubt(
    plane: ControlPlane, clock: StoppedClock, *, is_reported: bool
) -> None:
    """Also if it is reported as in progress afterwards, but not if it was all the time."""
    async with unless_it_hangs(), StandingPull(plane.bus, pool_durable("shared"), window=4) as pull:
        await plane.notify(NOTE)
        (held,) = await pull.take(1)
        assert held.is_alone
        steps: list[Any] = [4.0, 4.0] if is_reported else [8.0]
        for step in steps:
            reported = held.touched
            clock.ahead += step
            pull._heard = clock()  # the broker was heard all the time
            pull._poke.set()
            await eventually(lambda: held.touched > reported, what="it is reported")  # noqa: B023
        assert held.is_alone == is_reported


async def test_trouble_puts_what_is_held_in_doubt(plane: ControlPlane) -> None:
    async with unless_it_hangs(), StandingPull(plane.bus, pool_durable("shared"), window=4) as pull:
        await plane.notify(NOTE)
        (held,) = await pull.take(1)
        await plane.bus.nc.force_reconnect()
        await eventually(lambda: not held.is_alone, what="the loss is noticed")
