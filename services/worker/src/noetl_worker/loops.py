"""Background loops: heartbeats, the durable's lag, the guard of scripts."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from time import time

from noetl_bus.broker import Bus
from noetl_bus.jetstream import consumer_info
from noetl_common.clock import ServerClock
from noetl_common.errors import NoetlError
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
_LONGEST_ROUND_TRIP_SECONDS = 1.0
"""Of an answer by which a clock is set: it may be wrong by as much."""
_CLOCK_ALLOWANCE_SECONDS = 5.0

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


async def run_lag_watch(
    bus: Bus, durable: DurableSpec, clock: ServerClock, *, seconds: float
) -> None:
    """Export the durable's lag, on which deployments scale, and set the broker's clock by it."""
    labels = (durable.stream, durable.name)
    is_off = False
    while True:
        asked = clock.reading()
        try:
            info = await consumer_info(bus, *labels)
        except NoetlError as error:
            _log.debug("lag_unknown", error=error.message)
            info = None
        if info is not None:
            metrics.PENDING.labels(*labels).set(info.pending)
            metrics.ACK_PENDING.labels(*labels).set(info.unanswered)
            if clock.reading() - asked < _LONGEST_ROUND_TRIP_SECONDS:
                clock.set(info.asked_at, asked_at=asked)
                is_off = _compare_clocks(info.asked_at, was_off=is_off)
        await asyncio.sleep(seconds)


def _compare_clocks(brokers: datetime, *, was_off: bool) -> bool:
    """Warn when the clock of this machine and the broker's begin to differ; return if they do."""
    ahead = time() - brokers.timestamp()
    metrics.CLOCK_AHEAD.set(ahead)
    is_off = abs(ahead) > _CLOCK_ALLOWANCE_SECONDS
    if is_off and not was_off:
        _log.warning("clock_off", ahead_of_broker_seconds=round(ahead, 1))
    elif was_off and not is_off:
        _log.info("clock_right_again")
    return is_off


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
