"""Reads the ingress stream: a sender as others are, for what their senders have spilled (W23).

A batch is no barrier: messages that arrive during a commit wait in the dispatcher and share the
next commit. The standing pull keeps unanswered messages alive at the broker. A replica that owns no
executions asks for nothing.
"""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import get_args

import orjson
from noetl_bus.broker import Bus
from noetl_bus.consumers.delivery import Delivery
from noetl_bus.consumers.standing_pull import StandingPull
from noetl_bus.writes.sender import Sender
from noetl_bus.writes.write import Write
from noetl_common.logging import get_logger
from noetl_contract.ingress import FORWARDED_HEADER, REPLY_HEADER
from noetl_contract.streams import DurableSpec
from noetl_contract.subjects import IngressKind

from noetl_orchestrator import metrics
from noetl_orchestrator.ingress.door import GIVEN_BACK, TAKEN
from noetl_orchestrator.ingress.handlers import IngressHandler

_log = get_logger()
_IDLE_SECONDS = 1.0
_TAKEN_SECONDS = 0.5
_LOOK_SECONDS = 1.0
# An owner may have given up what it has taken, as while its database is away.
_ANSWER_SECONDS = 30.0
_NAK_SECONDS = 1.0
_KINDS = frozenset(get_args(IngressKind.__value__))


class SpillReader:
    """Gives messages of the stream to the owners of their executions.

    An owner says at once that it has taken one, and answers after the commit. What it says nothing
    about is decided here: every replica may decide every execution.

    Args:
        bus: the connection.
        handler: takes what is decided here.
        durable: to read.
        window: limits the messages requested, waiting and in turns, together.
    """

    def __init__(
        self, bus: Bus, handler: IngressHandler, durable: DurableSpec, *, window: int
    ) -> None:
        self._bus = bus
        self._handler = handler
        self._durable = durable
        self._window = window
        self._sender = Sender(bus)
        self._forwards = bus.settings.takes("owners")
        self._asking: set[asyncio.Task[None]] = set()

    async def run(
        self, *, drain_seconds: float = 10.0, beat: Callable[[], None] = lambda: None
    ) -> None:
        """Read until cancelled; then wait for the answers to what was read.

        The turns must continue for ``drain_seconds`` after a cancellation.

        Raises:
            BusClosed: the connection is gone for good.
        """
        handler, replicas = self._handler, self._handler.replicas
        async with StandingPull(
            self._bus, self._durable, window=self._window, is_wanted=lambda: replicas.is_active
        ) as pull:
            handler.under_way.settled.append(pull.top_up)
            replicas.changed.append(pull.top_up)
            try:
                while True:
                    beat()
                    try:
                        async with asyncio.timeout(_IDLE_SECONDS):
                            deliveries = await pull.receive(self._window)
                    except TimeoutError:
                        continue
                    await self._take(deliveries)
            finally:
                await asyncio.shield(self._drain(pull, drain_seconds))
                handler.under_way.settled.remove(pull.top_up)
                replicas.changed.remove(pull.top_up)

    async def _drain(self, pull: StandingPull, seconds: float) -> None:
        await pull.stop()
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(self._handler.idle(), *self._asking)
                await self._handler.idle()
        except TimeoutError:
            pass  # the other messages return to the broker with the pull

    async def _take(self, deliveries: Sequence[Delivery]) -> None:
        here: list[Delivery] = []
        for delivery in deliveries:
            execution_id, kind = _named(delivery.subject)
            owner = None if kind is None else self._handler.replicas.owner_of(execution_id)
            # Many large ones at once would be more than the broker keeps for a connection.
            is_large = len(delivery.data) > self._bus.largest_message // 4
            if kind is None or owner is None or is_large or not self._forwards:
                here.append(delivery)
                continue
            task = asyncio.create_task(self._forward(delivery, execution_id, kind, owner))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        if here:
            await self._handler.take_here(here)

    async def _forward(
        self, delivery: Delivery, execution_id: int, kind: IngressKind, owner: str
    ) -> None:
        """Have the owner decide a message; decide it here if that one is not there."""
        try:
            answer = await self._asked(delivery, execution_id, kind, owner)
            metrics.FORWARDED.labels("here" if answer is None else "answered").inc()
            if answer is None:
                await self._handler.take_here([delivery])
                return
            if answer.startswith(GIVEN_BACK):
                await delivery.nak(orjson.loads(answer)["delay"])
                return
            if reply := delivery.headers.get(REPLY_HEADER):
                await self._bus.reply(reply, answer)
            delivery.ack_nowait()
        except Exception as error:  # noqa: BLE001 -- or it would stay with a task that has ended
            _log.error("message_not_forwarded", exc_info=error)
            await delivery.nak(_NAK_SECONDS)
        finally:
            self._handler.under_way.request_more()

    async def _asked(
        self, delivery: Delivery, execution_id: int, kind: IngressKind, owner: str
    ) -> bytes | None:
        """Return the owner's answer; None if it says nothing soon, or is the owner no more."""
        facts = (delivery.num_delivered, delivery.stream_sequence, delivery.stored_at_ns)
        with Write(
            self._bus.inbox(),
            shard=int(delivery.subject.split(".")[1]),
            execution_id=execution_id,
            kind=kind,
            body=delivery.data,
            headers={
                **{k: v for k, v in delivery.headers.items() if k != REPLY_HEADER},
                FORWARDED_HEADER: ".".join(map(str, facts)),
            },
        ) as write:
            is_told = await self._sender.request(write, seconds=_TAKEN_SECONDS)
            answer = write.take_next()
            until = monotonic() + _ANSWER_SECONDS
            while is_told and answer in {TAKEN, None}:
                is_owner = self._handler.replicas.owner_of(execution_id) == owner
                if not is_owner or monotonic() >= until:
                    is_told = False
                else:
                    answer = await write.next(_LOOK_SECONDS)
            if is_told:
                return answer
            if write.is_sent and not write.nobody_listens and delivery.num_delivered == 1:
                delivery.count_another()  # it may be committed
            return None


def _named(subject: str) -> tuple[int, IngressKind | None]:
    """Return execution and kind that a subject names; no kind if it is none that is read."""
    _, _, execution, *kind = subject.split(".")
    if execution.isdecimal() and kind and kind[0] in _KINDS:
        return int(execution), kind[0]  # type: ignore[return-value]  # one of the kinds
    return 0, None
