"""Take writes that came past the ingress stream, while nobody leads it.

The edge holds a write until its answer has come and goes on publishing it, so one that is dropped
here is late and never lost; the copy that the stream keeps meanwhile is a repetition (W6).
"""

import asyncio
from collections.abc import Callable

from noetl_common.bus.broker import Bus
from noetl_common.bus.delivery import Delivery
from noetl_common.bus.inbox import Incoming
from noetl_contract.subjects import direct_filter, ingress_of_direct

from noetl_orchestrator.ingress.handlers import IngressHandler

_IDLE_SECONDS = 1.0


class DirectDelivery(Delivery):
    """A write that no stream delivered: nobody waits for its acknowledgement."""

    __slots__ = ()

    def __init__(self, incoming: Incoming) -> None:
        super().__init__(_NOBODY, incoming, store="")

    def _metadata(self) -> tuple[int, int, str, int]:
        # The second delivery: its copy in the stream may have been committed before.
        return (2, 0, "0", 0)


class _Nobody:
    """Stands for the pull that other deliveries belong to."""

    def answer(self, delivery: Delivery, word: bytes, *, final: bool) -> None:
        """Do nothing: the sender goes by the reply alone."""

    async def bury(self, delivery: Delivery, reason: str) -> bool:  # noqa: ARG002 -- as others have it
        """Keep nothing: the sender was told, and the copy in the stream is what people look at."""
        return True


_NOBODY = _Nobody()


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

    Args:
        bus: the connection.
        handler: as for messages of the stream.
        shard: whose writes are taken.
        window: most that wait here; more are dropped, and sent again by the edge.
        queue: name that the replicas share, so that each write comes to one of them.
        beat: called with each batch and each idle second.
    """
    waiting: asyncio.Queue[Delivery] = asyncio.Queue(window)

    def take(incoming: Incoming) -> None:
        if not waiting.full():
            subject = ingress_of_direct(incoming.subject)
            told = Incoming(subject, incoming.data, incoming.headers, incoming.reply)
            waiting.put_nowait(DirectDelivery(told))

    subscription = await bus.subscribe(direct_filter(shard), take, queue=queue)
    try:
        while True:
            beat()
            try:
                async with asyncio.timeout(_IDLE_SECONDS):
                    deliveries = [await waiting.get()]
            except TimeoutError:
                continue
            while not waiting.empty():
                deliveries.append(waiting.get_nowait())
            await handler(deliveries)
    finally:
        await subscription.unsubscribe()
