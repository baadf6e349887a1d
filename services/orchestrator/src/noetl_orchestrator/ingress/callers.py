"""Senders of ingress messages: each gets its answer when the turn of its message is over."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Literal

import orjson
from msgspec import Raw
from noetl_bus.broker import Bus
from noetl_bus.consumers.delivery import Delivery
from noetl_bus.inbox import Incoming
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.ingress import (
    FORWARDED_HEADER,
    REPLY_HEADER,
    CommandOutcomeMessage,
    CommandStartMessage,
)
from noetl_contract.json import encode
from noetl_contract.rpc import RpcReply, encode_reply
from noetl_contract.subjects import UNSTORED_KINDS, URGENT_KINDS
from noetl_engine.outputs import Answer

from noetl_orchestrator.turn.inputs import Caller

_log = get_logger()

type EncodeReply = Callable[[Answer], bytes]


type Lane = Literal["ordinary", "urgent", "forwarded", "claims"]
"""Messages that are counted together, so that no other messages can use up their window."""


def lane_of(message: Incoming | Delivery) -> Lane:
    """Return the lane of a message: by its kind, then by whether a sibling has read it."""
    kind = message.subject.rpartition(".")[2]
    if kind in UNSTORED_KINDS:
        return "claims"
    if kind in URGENT_KINDS:
        return "urgent"
    return "forwarded" if FORWARDED_HEADER in message.headers else "ordinary"


class UnderWay:
    """Messages that wait for their answers.

    Attributes:
        counts: how many there are in each lane.
        idle: set while there are none.
        settled: each is called when a message was answered, to request more from the stream.
    """

    def __init__(self) -> None:
        self.counts: Counter[Lane] = Counter()
        self.idle = asyncio.Event()
        self.idle.set()
        self.settled: list[Callable[[], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, lane: Lane) -> None:
        """Count a message that waits from now on."""
        self.counts[lane] += 1
        self.idle.clear()

    def end(self, lane: Lane) -> None:
        """Count a message as answered."""
        self.counts[lane] -= 1
        if not any(self.counts.values()):
            self.idle.set()
        self.request_more()

    def request_more(self) -> None:
        """Have more messages requested from the stream, as far as the window allows."""
        for request in self.settled:
            request()

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Do something for a message that no other waits for."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class MessageCaller(Caller):
    """The sender of an ingress message; answers it and acknowledges its delivery.

    It always waits: the message stays in the stream until it is handled.
    """

    def __init__(self, bus: Bus, under_way: UnderWay, delivery: Delivery) -> None:
        self._bus = bus
        self._under_way = under_way
        self._delivery = delivery
        self._lane = lane_of(delivery)
        self.encode_reply: EncodeReply = encode_envelope
        under_way.begin(self._lane)

    async def answered(self, answer: Answer) -> None:
        """Reply and acknowledge; if either is lost, the message comes again."""
        await self._reply(answer)
        self._delivery.ack_nowait()
        self._end_wait()

    async def refused(self, reason: str, answer: Answer) -> None:
        """Keep the message as a dead letter, and reply; one that can't be kept comes again."""
        if await self._delivery.dead_letter(reason):
            await self._reply(answer)
        self._end_wait()

    async def given_back(self, delay_seconds: float) -> None:
        """Return the message to the broker, for another delivery to any replica."""
        await self._delivery.nak(delay_seconds)
        self._end_wait()

    def _end_wait(self) -> None:
        self._under_way.end(self._lane)

    async def _reply(self, answer: Answer) -> None:
        subject = self._delivery.headers.get(REPLY_HEADER)
        if not subject:
            return
        try:
            await self._bus.reply(subject, self.encode_reply(answer))
        except NoetlError as error:
            _log.warning("reply_not_sent", error=error.message)


def encode_envelope(answer: Answer) -> bytes:
    """Encode a reply: status, body and error apart."""
    body = Raw(encode(answer.body))
    reply = RpcReply(status=answer.status, raw_body=body, error=answer.error, detail=answer.detail)
    return encode_reply(reply)


def _encode_bare(answer: Answer, *, without_body: str) -> bytes:
    """Encode the reply to a worker: the body alone, or a status word without one."""
    if answer.body is not None:
        return orjson.dumps(answer.body)
    # The execution is unknown, or the message was refused: nothing to hold or to keep.
    return orjson.dumps({"status": without_body, "reason": "finished", "error": answer.error})


REPLY_ENCODERS: Mapping[type, EncodeReply] = {
    CommandStartMessage: partial(_encode_bare, without_body="lost"),
    CommandOutcomeMessage: partial(_encode_bare, without_body="late"),
}
"""Those of messages whose senders, workers, expect a form of their own."""
