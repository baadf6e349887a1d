"""Turn ingress messages into inputs of turns."""

import asyncio
from collections.abc import Sequence

from noetl_bus.broker import Bus
from noetl_bus.consumers.delivery import Delivery
from noetl_common.errors import NoetlError, Permanent
from noetl_common.logging import get_logger
from noetl_contract.ingress import STORED_HEADER, CommandOutcomeMessage, CommandStartMessage
from noetl_engine.outputs import Answer

from noetl_orchestrator import metrics
from noetl_orchestrator.fences import Fences
from noetl_orchestrator.ingress.callers import (
    REPLY_ENCODERS,
    MessageCaller,
    UnderWay,
    encode_envelope,
)
from noetl_orchestrator.ingress.claims import ClaimHandler
from noetl_orchestrator.ingress.decode import Undecodable, WrongKind, WrongShard, read_input
from noetl_orchestrator.ingress.stored_bodies import StoredBodies, StoredBodyGone
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.replicas.replicas import Replicas
from noetl_orchestrator.settings import Settings
from noetl_orchestrator.turn.dispatch import Dispatcher
from noetl_orchestrator.turn.inputs import Caller

_log = get_logger()
_FETCHES_AT_ONCE = 4
_FETCH_AGAIN_SECONDS = 1.0


class IngressHandler:
    """Turn ingress messages into inputs; each is answered when its turn is over.

    Attributes:
        under_way: messages that wait for their answers, by lane.
        claims: takes claims.
        replicas: say whether this process takes part.
    """

    def __init__(
        self, bus: Bus, store: Store, dispatcher: Dispatcher, replicas: Replicas, settings: Settings
    ) -> None:
        self.under_way = UnderWay()
        self.claims = ClaimHandler(
            bus, store, dispatcher, replicas, settings, under_way=self.under_way
        )
        self.replicas = replicas
        self._bus = bus
        self._dispatcher = dispatcher
        self._settings = settings
        self._fences = Fences(settings)
        self._stored = StoredBodies(bus, shard=settings.shard_index)
        self._fetches = asyncio.Semaphore(_FETCHES_AT_ONCE)

    async def take_here(self, deliveries: Sequence[Delivery]) -> None:
        """Submit messages to turns without waiting for their answers."""
        for delivery in deliveries:
            if delivery.subject.endswith(".claim"):
                await self.claims.take(delivery)
                continue
            caller = MessageCaller(self._bus, self.under_way, delivery)
            if STORED_HEADER in delivery.headers:
                # Other messages don't wait for it; the window of the consumer limits the number.
                self.under_way.spawn(self._take_stored(delivery, caller))
                continue
            await self._take(delivery, delivery.data, caller)

    async def idle(self) -> None:
        """Wait until no message waits for its answer."""
        await self.under_way.idle.wait()

    async def _take(self, delivery: Delivery, data: bytes, caller: MessageCaller) -> None:
        try:
            turn_input = read_input(delivery, data, caller, self._settings)
        except (Undecodable, WrongShard, WrongKind) as error:
            await _refuse(caller, error)
            return
        message = turn_input.message
        caller.encode_reply = REPLY_ENCODERS.get(type(message), encode_envelope)
        if isinstance(message, CommandStartMessage | CommandOutcomeMessage) and not (
            self._fences.admits_run(message.execution_id, message.hold)
        ):
            await self._turn_away(message, caller)
            return
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

    async def _take_stored(self, delivery: Delivery, caller: MessageCaller) -> None:
        """Take a message whose body was too large for the broker."""
        try:
            async with self._fetches:
                data = await self._stored.fetch(delivery.data)
        except StoredBodyGone as error:
            await _refuse(caller, error)
        except NoetlError as error:
            # An outage does not count as an attempt: the message comes again.
            _log.warning("stored_message_not_fetched", error=error.message)
            await caller.given_back(_FETCH_AGAIN_SECONDS)
        else:
            await self._take(delivery, data, caller)


async def _refuse(caller: MessageCaller, error: Permanent) -> None:
    metrics.DEAD_LETTERS.labels(error.code).inc()
    await caller.refused(error.message, Answer(status=422, error=error.message))
