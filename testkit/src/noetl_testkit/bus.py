"""Streams and durables for tests, and loops that run beside a test."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from nats.aio.client import Client
from noetl_bus import wire
from noetl_bus.broker import Bus
from noetl_bus.settings import NatsSettings
from noetl_bus.topology import ensure_durable
from noetl_contract.streams import DurableSpec, StreamSpec
from noetl_contract.subjects import WRITES_ROOT
from pydantic import SecretStr

from noetl_testkit.waiting import PATIENCE_SECONDS

__all__ = [
    "Place",
    "durable_info",
    "flush",
    "has_listener",
    "is_settled",
    "make_place",
    "nats_settings",
    "running",
    "writes_of_shard",
]


def writes_of_shard(shard: int) -> str:
    """Return the pattern of all writes that are requested of the replicas of a shard."""
    return f"{WRITES_ROOT}.{shard}.*.*.*"


@dataclass(frozen=True)
class Place:
    """A stream of a test's own, and a durable on all of it."""

    stream: StreamSpec
    durable: DurableSpec

    def subject(self, last: object = "one") -> str:
        """Return a subject of the stream."""
        return f"{self.stream.name}.{last}"

    def with_durable(self, **changes: Any) -> "Place":
        """Return the place with another durable."""
        return replace(self, durable=replace(self.durable, **changes))


def make_place(name: str, **stream: Any) -> Place:
    """Describe a stream, with overrides, and its durable; nothing is created."""
    spec = StreamSpec(
        name=name,
        subjects=(f"{name}.>",),
        retention="limits",
        discard="new",
        duplicate_window=timedelta(seconds=60),
    )
    durable = DurableSpec(
        stream=name,
        name="reader",
        filter_subject=f"{name}.>",
        ack_wait=timedelta(seconds=PATIENCE_SECONDS),
        max_deliver=1000,
        max_ack_pending=10_000,
    )
    return Place(replace(spec, **stream), durable)


def nats_settings(url: str) -> NatsSettings:
    """Return settings that lead to a server."""
    return NatsSettings(nats_url=SecretStr(url))


async def flush(sender: Bus | Client) -> None:
    """Wait until the broker has seen everything that was sent so far.

    A client's own ``flush`` overtakes what waits to be written, that of the bus gives up.

    Raises:
        TimeoutError: it doesn't answer.
    """
    client = sender.nc if isinstance(sender, Bus) else sender
    if not await wire.ping(client, seconds=PATIENCE_SECONDS):
        raise TimeoutError("the broker doesn't answer")


async def has_listener(bus: Bus, subject: str, body: bytes = b"") -> bool:
    """Send a request and return whether it has a receiver, answered or not.

    Where nobody does the broker says so at once, before it answers the flush behind the request.
    """
    inbox = bus.nc.new_inbox()
    answers = await bus.nc.subscribe(inbox)
    try:
        await bus.nc.publish(subject, body, reply=inbox)
        await flush(bus)
        found = [await answers.next_msg() for _ in range(answers.pending_msgs)]
    finally:
        await answers.unsubscribe()
    return not any((one.headers or {}).get("Status") == "503" for one in found)


async def durable_info(bus: Bus, place: Place) -> dict[str, Any]:
    """Return the broker's facts about a place's durable, which is made if it is missing."""
    return await ensure_durable(bus, place.durable)


async def is_settled(bus: Bus, place: Place, *, acked: int) -> bool:
    """Return whether the durable has nothing to deliver and nothing unanswered."""
    info = await durable_info(bus, place)
    floor = info["ack_floor"]["stream_seq"]
    return bool(floor == acked and info["num_ack_pending"] == info["num_pending"] == 0)


@asynccontextmanager
async def running(loop: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run a loop while the block lasts; its failure fails the test."""
    task = asyncio.create_task(loop)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
