"""Listener of tests that takes outcomes past the ingress stream, and answers them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
from message_worker import Worker
from nats.aio.msg import Msg
from noetl_bus.inbox import Incoming
from noetl_contract.ingress import NEXT_HEADER, REPLY_HEADER
from noetl_testkit.bus import flush, writes_of_shard
from noetl_testkit.waiting import eventually
from worker_control_plane import SHARD, ControlPlane

type Answer = Callable[[dict[str, Any], Incoming], dict[str, Any] | None]


class Listener:
    """Takes outcomes past the stream, and answers as the test wants."""

    def __init__(self, plane: ControlPlane, answer: Answer) -> None:
        self.heard: list[Incoming] = []
        self.answer = answer
        self._plane = plane
        self._replies: list[asyncio.Task[None]] = []

    def take(self, incoming: Incoming) -> None:
        if incoming.subject.endswith(".claim"):
            return  # the control plane answers them
        self.heard.append(incoming)
        body = self.answer(orjson.loads(incoming.data), incoming)
        if body is not None:
            self.reply(incoming, body)

    def reply(self, incoming: Incoming, body: dict[str, Any]) -> None:
        subject = incoming.headers[REPLY_HEADER]
        answered = self._plane.bus.reply(subject, orjson.dumps(body))
        self._replies.append(asyncio.ensure_future(answered))

    @property
    def commands(self) -> list[int]:
        return [orjson.loads(one.data)["hold"]["event_id"] for one in self.heard]

    @property
    def wishes(self) -> list[bool]:
        return [NEXT_HEADER in one.headers for one in self.heard]


@asynccontextmanager
async def listening(plane: ControlPlane, answer: Answer) -> AsyncIterator[Listener]:
    listener = Listener(plane, answer)
    subscription = await plane.bus.subscribe(writes_of_shard(SHARD), listener.take)
    await flush(plane.bus)
    try:
        yield listener
    finally:
        await subscription.unsubscribe()


async def unacked(plane: ControlPlane) -> int:
    info = await plane.bus.js.consumer_info("NOETL_COMMANDS", "noetl_worker_pool_shared")
    return int(info.num_ack_pending or 0) + int(info.num_pending or 0)


async def until_unacked(plane: ControlPlane, count: int, *, what: str) -> None:
    """Wait until so many notifications are left unacknowledged."""

    async def is_so() -> bool:
        return await unacked(plane) == count

    await eventually(is_so, what=what)


def deliver(worker: Worker, incoming: Incoming, body: dict[str, Any]) -> None:
    """Let a worker hear an answer now, between two steps of its tasks."""
    reply = incoming.headers[REPLY_HEADER]
    worker.bus.inbox().deliver(Msg(worker.bus.nc, subject=reply, data=orjson.dumps(body)))
