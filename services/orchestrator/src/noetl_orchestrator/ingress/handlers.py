"""Turn ingress messages into inputs of turns, and answer them."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import orjson
from msgspec import Raw
from noetl_common.bus.broker import Bus
from noetl_common.bus.delivery import Delivery
from noetl_common.errors import NoetlError, Permanent
from noetl_common.logging import get_logger
from noetl_contract.ingress import (
    REPLY_HEADER,
    STORED_HEADER,
    CommandOutcomeMessage,
    CommandStartMessage,
    IngressMessage,
)
from noetl_contract.json import encode
from noetl_contract.rpc import RpcReply, encode_reply
from noetl_engine.outputs import Answer

from noetl_orchestrator import metrics
from noetl_orchestrator.fences import Fences
from noetl_orchestrator.ingress.decode import (
    Undecodable,
    WrongKind,
    WrongShard,
    decode,
    turn_input_of,
)
from noetl_orchestrator.ingress.stored_bodies import StoredBodies, StoredBodyGone
from noetl_orchestrator.memory.replicas import Replicas
from noetl_orchestrator.settings import Settings
from noetl_orchestrator.traces import arrival_of, with_root
from noetl_orchestrator.turn.dispatch import Dispatcher
from noetl_orchestrator.turn.inputs import Caller

_log = get_logger()
_FETCHES_AT_ONCE = 4
_FETCH_AGAIN_SECONDS = 1.0


type EncodeReply = Callable[[Answer], bytes]


class IngressHandler:
    """Turn ingress messages into inputs; each is answered when its turn is over.

    Attributes:
        settled: each is called when a message was answered, to request more.
        idle: set while no message waits for its answer.
        replicas: say whether this process takes part.
    """

    def __init__(
        self, bus: Bus, dispatcher: Dispatcher, replicas: Replicas, settings: Settings
    ) -> None:
        self.bus = bus
        self.replicas = replicas
        self.settled: list[Callable[[], None]] = []
        self.idle = asyncio.Event()
        self.idle.set()
        self._working = 0
        self._dispatcher = dispatcher
        self._settings = settings
        self._fences = Fences(settings)
        self._stored = StoredBodies(bus, shard=settings.shard_index)
        self._fetches = asyncio.Semaphore(_FETCHES_AT_ONCE)
        self._fetching: set[asyncio.Task[None]] = set()

    @property
    def under_way(self) -> int:
        """How many messages wait for their answers."""
        return self._working

    async def take_here(self, deliveries: Sequence[Delivery]) -> None:
        """Submit messages to turns without waiting for their answers."""
        for delivery in deliveries:
            self.begun()
            if STORED_HEADER in delivery.headers:
                # Other messages don't wait for it; the window of the consumer limits the number.
                task = asyncio.create_task(self._take_stored(delivery))
                self._fetching.add(task)
                task.add_done_callback(self._fetching.discard)
                continue
            await self._take(delivery, delivery.data)

    async def _take(self, delivery: Delivery, data: bytes) -> None:
        try:
            message = decode(delivery, data, self._settings)
        except (Undecodable, WrongShard, WrongKind) as error:
            await self._refuse(delivery, error)
            return
        message = with_root(message)
        caller = MessageCaller(self, delivery, _reply_encoder(message))
        if isinstance(message, CommandStartMessage | CommandOutcomeMessage) and not (
            self._fences.admits_run(message.execution_id, message.hold)
        ):
            await self._turn_away(message, caller)
            return
        seconds = self._settings.request_key_seconds
        turn_input = turn_input_of(message, delivery, caller, idempotency_seconds=seconds)
        turn_input.arrival = arrival_of(delivery)
        self._dispatcher.submit(turn_input)

    async def _turn_away(
        self, message: CommandStartMessage | CommandOutcomeMessage, caller: Caller
    ) -> None:
        """Answer a report whose sender doesn't show that it has the command; keep none of it."""
        hold = message.hold
        is_start = isinstance(message, CommandStartMessage)
        metrics.UNPROVEN.labels("start" if is_start else "outcome").inc()
        _log.warning(
            "report_unproven",
            execution_id=message.execution_id,
            step=hold.step,
            command_id=hold.command_id,
            event_id=hold.event_id,
            worker_id=hold.worker_id,
        )
        body = {"status": "lost" if is_start else "late", "reason": "fence"}
        await caller.answered(Answer(body=body))

    async def _take_stored(self, delivery: Delivery) -> None:
        """Take a message whose body was too large for the broker."""
        try:
            async with self._fetches:
                data = await self._stored.fetch(delivery.data)
        except StoredBodyGone as error:
            await self._refuse(delivery, error)
        except NoetlError as error:
            # An outage does not count as an attempt: the message comes again.
            _log.warning("stored_message_not_fetched", error=error.message)
            await MessageCaller(self, delivery).given_back(_FETCH_AGAIN_SECONDS)
        else:
            await self._take(delivery, data)

    async def _refuse(self, delivery: Delivery, error: Permanent) -> None:
        metrics.DEAD_LETTERS.labels(error.code).inc()
        answer = Answer(status=422, error=error.message)
        await MessageCaller(self, delivery).refused(error.message, answer)

    def begun(self) -> None:
        """Note that a message waits for its answer."""
        self._working += 1
        self.idle.clear()

    def finished(self) -> None:
        """Note that a message was answered."""
        self._working -= 1
        if not self._working:
            self.idle.set()
        for request_more in self.settled:
            request_more()


def _encode_envelope(answer: Answer) -> bytes:
    """Encode the reply to the edge: status, body and error apart."""
    body = Raw(encode(answer.body))
    reply = RpcReply(status=answer.status, raw_body=body, error=answer.error, detail=answer.detail)
    return encode_reply(reply)


def _encode_bare(answer: Answer, *, without_body: str) -> bytes:
    """Encode the reply to a worker: the body alone, or a status word without one."""
    if answer.body is not None:
        return orjson.dumps(answer.body)
    # The execution is unknown, or the message was refused: nothing to hold or to keep.
    return orjson.dumps({"status": without_body, "reason": "finished", "error": answer.error})


def _reply_encoder(message: IngressMessage) -> EncodeReply:
    """Return the encoder of replies to a message; workers expect their own form."""
    match message:
        case CommandStartMessage():
            return partial(_encode_bare, without_body="lost")
        case CommandOutcomeMessage():
            return partial(_encode_bare, without_body="late")
        case _:
            return _encode_envelope


class MessageCaller(Caller):
    """The sender of an ingress message; answers it and acknowledges its delivery.

    It always waits: the message stays in the stream until it is handled.
    """

    def __init__(
        self,
        handler: IngressHandler,
        delivery: Delivery,
        encode_reply: EncodeReply = _encode_envelope,
    ) -> None:
        self._handler = handler
        self._delivery = delivery
        self._encode_reply = encode_reply

    async def answered(self, answer: Answer) -> None:
        """Reply and acknowledge; if either is lost, the message comes again."""
        await self._reply(answer)
        self._delivery.ack_nowait()
        self._handler.finished()

    async def refused(self, reason: str, answer: Answer) -> None:
        """Keep the message as a dead letter, and reply; one that can't be kept comes again."""
        if await self._delivery.dead_letter(reason):
            await self._reply(answer)
        self._handler.finished()

    async def given_back(self, delay_seconds: float) -> None:
        """Return the message to the broker, for another delivery to any replica."""
        await self._delivery.nak(delay_seconds)
        self._handler.finished()

    async def _reply(self, answer: Answer) -> None:
        subject = self._delivery.headers.get(REPLY_HEADER)
        if not subject:
            return
        try:
            await self._handler.bus.reply(subject, self._encode_reply(answer))
        except NoetlError as error:
            _log.warning("reply_not_sent", error=error.message)
