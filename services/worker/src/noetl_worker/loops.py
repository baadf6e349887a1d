"""Background loops: heartbeats, the durable's lag, the guard of scripts."""

import asyncio
from collections.abc import Callable

from nats.errors import Error as NatsError
from noetl_common.bus.broker import Bus
from noetl_common.logging import get_logger
from noetl_common.retry import backoff
from noetl_contract.streams import DurableSpec

from noetl_worker import metrics
from noetl_worker.interpreters.guard import TreeLimits, excesses
from noetl_worker.interpreters.pool import InterpreterPool
from noetl_worker.libraries.pools import LibraryPools
from noetl_worker.transports.transport import Transport

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_LOOK_SECONDS = 0.5

_log = get_logger()


async def register_until_done(transport: Transport) -> None:
    """Register; an unregistered worker may not hold commands."""
    async for _ in backoff(
        first_seconds=_FIRST_PAUSE_SECONDS, longest_seconds=_LONGEST_PAUSE_SECONDS
    ):
        if await transport.register():
            return


async def run_heartbeats(transport: Transport, *, seconds: float, beat: Callable[[], None]) -> None:
    """Send heartbeats; register again, as the same process, when the catalog has no record."""
    while True:
        await asyncio.sleep(seconds)
        beat()
        if not await transport.heartbeat():
            _log.warning("worker_forgotten")
            await transport.register()


async def run_lag_watch(bus: Bus, durable: DurableSpec, *, seconds: float) -> None:
    """Export the durable's lag, on which deployments scale."""
    labels = (durable.stream, durable.name)
    while True:
        try:
            info = await bus.js.consumer_info(durable.stream, durable.name)
        except (NatsError, TimeoutError) as error:
            _log.debug("lag_unknown", error=str(error))
        else:
            metrics.PENDING.labels(*labels).set(info.num_pending or 0)
            metrics.ACK_PENDING.labels(*labels).set(info.num_ack_pending or 0)
        await asyncio.sleep(seconds)


async def run_guard(pool: InterpreterPool | LibraryPools, limits: TreeLimits) -> None:
    """Kill scripts that use too much with all they have started: the system counts by process."""
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        running = pool.script_directories()
        if not running:
            continue
        for pid, excess in (await asyncio.to_thread(excesses, running, limits)).items():
            _log.warning("script_killed", reason=excess)
            pool.kill_script_of(pid, reason=excess)
