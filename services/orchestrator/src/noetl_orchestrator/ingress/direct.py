"""Take writes that come past the ingress stream, the short way (W21).

The edge holds a write until its answer has come, and publishes it where none comes, so one that
is dropped here is late and never lost; the copy in the stream is a repetition (W6).
"""

import asyncio
from collections.abc import Callable
from time import time_ns

from noetl_common.bus.broker import Bus, Subscription
from noetl_common.bus.dead_letters import bury
from noetl_common.bus.delivery import Delivery, DeliveryOwner
from noetl_common.bus.inbox import Incoming
from noetl_contract.streams import ingress_durable
from noetl_contract.subjects import URGENT_KINDS, direct_filter, ingress_of_direct

from noetl_orchestrator.ingress.handlers import IngressHandler

_IDLE_SECONDS = 1.0


class DirectDelivery(Delivery):
    """A write that no stream delivered: nobody waits for its acknowledgement."""

    __slots__ = ()

    def __init__(self, owner: DeliveryOwner, incoming: Incoming) -> None:
        super().__init__(owner, incoming, store="")
        # Its first; whether a copy may have been committed before is told by its header.
        self._fields = (1, 0, str(time_ns()), 0)


class _Intake:
    """Stands for the pull that other deliveries belong to."""

    def __init__(self, bus: Bus, shard: int) -> None:
        self._bus = bus
        self._durable = ingress_durable(shard)

    def answer(self, delivery: Delivery, word: bytes, *, final: bool) -> None:
        """Do nothing: the sender goes by the reply alone."""

    async def bury(self, delivery: Delivery, reason: str) -> bool:
        """Keep it for people, as one of the stream: there may be no copy in there."""
        return await bury(self._bus, self._durable, delivery, reason)


async def run_direct(
    bus: Bus,
    handler: IngressHandler,
    *,
    shard: int,
    window: int,
    queue: str,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Hand writes that came directly to the handler, until cancelled.

    A replica that owns no executions listens to none.

    Args:
        bus: the connection.
        handler: as for messages of the stream.
        shard: whose writes are taken.
        window: most that wait here, those of the stream counted in; more are dropped, and go to
            the stream. Urgent ones have as much room once more.
        queue: name that the replicas share, so that each write comes to one of them.
        beat: called with each batch and each idle second.
    """
    intake = _Intake(bus, shard)
    waiting: asyncio.Queue[Delivery] = asyncio.Queue()

    def take(incoming: Incoming) -> None:
        subject = ingress_of_direct(incoming.subject)
        is_urgent = subject.rpartition(".")[2] in URGENT_KINDS
        if handler.under_way + waiting.qsize() < window * (1 + is_urgent):
            # Its reply subject is the broker's, for when nobody listens.
            told = Incoming(subject, incoming.data, incoming.headers)
            waiting.put_nowait(DirectDelivery(intake, told))

    subscription: Subscription | None = None
    try:
        while True:
            beat()
            if handler.replicas.is_active:
                if subscription is None:
                    subscription = await bus.subscribe(direct_filter(shard), take, queue=queue)
            elif subscription is not None:
                await subscription.unsubscribe()
                subscription = None
            try:
                async with asyncio.timeout(_IDLE_SECONDS):
                    deliveries = [await waiting.get()]
            except TimeoutError:
                continue
            while not waiting.empty():
                deliveries.append(waiting.get_nowait())
            await handler(deliveries)
    finally:
        if subscription is not None:
            await subscription.unsubscribe()
