"""The ingress: messages are taken as they come, as many at once as the window allows.

A batch is not a barrier here: what arrives during a commit waits in the dispatcher and shares
the next one. The standing pull keeps everything alive that has no answer yet.
"""

import asyncio
from collections.abc import Callable

from noetl_common.bus.broker import Bus
from noetl_common.bus.standing import StandingPull
from noetl_contract.streams import DurableSpec

from noetl_orchestrator.ingress.handlers import IngressHandler

_IDLE_SECONDS = 1.0


async def run_intake(
    bus: Bus,
    durable: DurableSpec,
    handler: IngressHandler,
    *,
    window: int,
    drain_seconds: float = 10.0,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Hand messages to the handler until cancelled; then wait for those it has taken.

    ``window`` bounds the messages asked for, waiting and worked on, together. The turns must
    run on for ``drain_seconds`` after a cancellation.

    Raises:
        BusClosed: the connection is gone for good.
    """
    async with StandingPull(bus, durable, window=window) as pull:
        handler.settled = pull.top_up
        try:
            while True:
                beat()
                try:
                    async with asyncio.timeout(_IDLE_SECONDS):
                        deliveries = await pull.take(window)
                except TimeoutError:
                    continue
                await handler(deliveries)
        finally:
            await asyncio.shield(_drain(pull, handler, drain_seconds))


async def _drain(pull: StandingPull, handler: IngressHandler, seconds: float) -> None:
    await pull.stop()
    try:
        async with asyncio.timeout(seconds):
            await handler.idle.wait()
    except TimeoutError:
        pass  # what is left goes back to the broker with the pull
