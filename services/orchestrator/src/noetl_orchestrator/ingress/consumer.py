"""Receive ingress messages as they arrive, as many at once as the window allows.

A batch is no barrier: messages that arrive during a commit wait in the dispatcher and share the
next commit. The standing pull keeps unanswered messages alive at the broker. A replica that owns no
executions asks for nothing.
"""

import asyncio
from collections.abc import Callable

from noetl_common.bus.broker import Bus
from noetl_common.bus.standing import StandingPull
from noetl_contract.streams import DurableSpec

from noetl_orchestrator.ingress.handlers import IngressHandler

_IDLE_SECONDS = 1.0


async def run_consumer(
    bus: Bus,
    durable: DurableSpec,
    handler: IngressHandler,
    *,
    window: int,
    drain_seconds: float = 10.0,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Hand messages to the handler until cancelled; then wait for their answers.

    ``window`` limits the messages requested, waiting and in turns, together. The turns must
    continue for ``drain_seconds`` after a cancellation.

    Raises:
        BusClosed: the connection is gone for good.
    """
    replicas = handler.replicas
    async with StandingPull(
        bus, durable, window=window, is_wanted=lambda: replicas.is_active
    ) as pull:
        handler.settled.append(pull.top_up)
        replicas.activated.append(pull.top_up)
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
            handler.settled.remove(pull.top_up)
            replicas.activated.remove(pull.top_up)


async def _drain(pull: StandingPull, handler: IngressHandler, seconds: float) -> None:
    await pull.stop()
    try:
        async with asyncio.timeout(seconds):
            await handler.idle.wait()
    except TimeoutError:
        pass  # the other messages return to the broker with the pull
