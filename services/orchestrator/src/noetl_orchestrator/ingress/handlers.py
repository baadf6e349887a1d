"""One function per trigger: ingress messages and claims become inputs, and get their answers."""

import asyncio
from typing import TYPE_CHECKING

import orjson
from noetl_common.bus.broker import Bus
from noetl_common.bus.delivery import Delivery
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.ingress import REPLY_HEADER, STORED_HEADER
from noetl_contract.json import encode
from noetl_engine.inputs import CommandOutcome, CommandStarted
from noetl_engine.outputs import Answer

from noetl_orchestrator import metrics
from noetl_orchestrator.ingress.decode import Undecodable, WrongShard, decode, work_of
from noetl_orchestrator.ingress.stored_bodies import StoredBodies, StoredBodyGone
from noetl_orchestrator.turn.dispatch import Dispatcher

if TYPE_CHECKING:
    from collections.abc import Callable


_log = get_logger()
_FETCHES_AT_ONCE = 4
_FETCH_AGAIN_SECONDS = 1.0


class IngressHandler:
    """Turns ingress messages into inputs; each gets its answer when its turn is over.

    Attributes:
        settled: called when a message was answered, so that more can be taken.
        idle: set while no message is being worked on.
    """

    def __init__(
        self,
        bus: Bus,
        dispatcher: Dispatcher,
        *,
        shard: int,
        shard_count: int,
        idempotency_seconds: float,
    ) -> None:
        self.bus = bus
        self.settled: Callable[[], None] = lambda: None
        self.idle = asyncio.Event()
        self.idle.set()
        self._working = 0
        self._dispatcher = dispatcher
        self._shard = shard
        self._shard_count = shard_count
        self._idempotency_seconds = idempotency_seconds
        self._stored = StoredBodies(bus, shard=shard)
        self._fetches = asyncio.Semaphore(_FETCHES_AT_ONCE)
        self._fetching: set[asyncio.Task[None]] = set()

    async def __call__(self, deliveries: list[Delivery]) -> None:
        """Take messages; returns at once but for those that can't be read."""
        for delivery in deliveries:
            self._working += 1
            self.idle.clear()
            caller = MessageCaller(self, delivery)
            if STORED_HEADER in delivery.headers:
                # Others don't wait for it; the window of the intake bounds how many there are.
                task = asyncio.create_task(self._take_stored(delivery, caller))
                self._fetching.add(task)
                task.add_done_callback(self._fetching.discard)
                continue
            await self._take(delivery, delivery.data, caller)

    async def _take(self, delivery: Delivery, data: bytes, caller: "MessageCaller") -> None:
        try:
            message = decode(delivery, data, shard=self._shard, shard_count=self._shard_count)
        except (Undecodable, WrongShard) as error:
            metrics.DEAD_LETTERS.labels(error.code).inc()
            await caller.refused(error.message, Answer(status=422, error=error.message))
            return
        work = work_of(message, delivery, caller, idempotency_seconds=self._idempotency_seconds)
        caller.is_fast = isinstance(work.input, CommandStarted | CommandOutcome)
        caller.is_outcome = isinstance(work.input, CommandOutcome)
        self._dispatcher.submit(work)

    async def _take_stored(self, delivery: Delivery, caller: "MessageCaller") -> None:
        """Take a message that stands for one which was too large for the broker."""
        try:
            async with self._fetches:
                data = await self._stored.fetch(delivery.data)
        except StoredBodyGone as error:
            metrics.DEAD_LETTERS.labels(error.code).inc()
            await caller.refused(error.message, Answer(status=422, error=error.message))
        except NoetlError as error:
            # An outage is no attempt of the message's: it comes again.
            _log.warning("stored_message_not_fetched", error=error.message)
            await caller.given_back(_FETCH_AGAIN_SECONDS)
        else:
            await self._take(delivery, data, caller)

    def finished(self) -> None:
        """Note that a message has got its answer."""
        self._working -= 1
        if not self._working:
            self.idle.set()
        self.settled()


class MessageCaller:
    """Who sent an ingress message, and the delivery that has to be answered."""

    __slots__ = ("_delivery", "_handler", "is_fast", "is_outcome")

    def __init__(self, handler: IngressHandler, delivery: Delivery) -> None:
        self._handler = handler
        self._delivery = delivery
        self.is_fast = False
        self.is_outcome = False

    @property
    def is_waiting(self) -> bool:
        """Always: the message is in the stream until it is handled."""
        return True

    def taken(self) -> None:
        """It may be redelivered all the same; keys make that harmless."""

    async def answered(self, answer: Answer) -> None:
        """Reply and acknowledge; both may be lost, then both are asked for again."""
        await self._reply(answer)
        self._delivery.ack_nowait()
        self._handler.finished()

    async def refused(self, reason: str, answer: Answer) -> None:
        """Reply, and keep the message where people look."""
        await self._reply(answer)
        await self._delivery.dead_letter(reason)
        self._handler.finished()

    async def given_back(self, delay_seconds: float) -> None:
        """Leave it to another delivery, maybe of another replica."""
        await self._delivery.nak(delay_seconds)
        self._handler.finished()

    async def _reply(self, answer: Answer) -> None:
        subject = self._delivery.headers.get(REPLY_HEADER)
        if not subject:
            return
        try:
            await self._handler.bus.reply(subject, self._encoded(answer))
        except NoetlError as error:
            _log.warning("reply_not_sent", error=error.message)

    def _encoded(self, answer: Answer) -> bytes:
        if not self.is_fast:
            return encode(
                {
                    "status": answer.status,
                    "body": answer.body,
                    "error": answer.error,
                    "detail": answer.detail,
                }
            )
        if answer.body is not None:
            return orjson.dumps(answer.body)
        # The execution is unknown, or the message was refused: nothing to hold or to keep.
        word = "late" if self.is_outcome else "lost"
        return orjson.dumps({"status": word, "reason": "finished", "error": answer.error})
