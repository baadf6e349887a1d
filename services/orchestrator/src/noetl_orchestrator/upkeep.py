"""Small things that have to be done now and then."""

import asyncio
from collections.abc import Callable

from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger

from noetl_orchestrator import metrics
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.memory.cache import ExecutionCache
from noetl_orchestrator.memory.database_clock import DatabaseClock
from noetl_orchestrator.turn.dispatch import Dispatcher

_log = get_logger()
_INTERVAL_SECONDS = 5.0
_PURGE_EVERY = 60
_PURGE_LIMIT = 5_000


async def run_upkeep(
    store: Store,
    clock: DatabaseClock,
    cache: ExecutionCache,
    dispatcher: Dispatcher,
    *,
    request_key_seconds: float,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Keep the clock near the database's, the gauges up to date, and old keys out."""
    rounds = 0
    while True:
        beat()
        metrics.CACHE_EXECUTIONS.set(len(cache))
        metrics.CACHE_BYTES.set(cache.bytes)
        metrics.WAITING_INPUTS.set(len(dispatcher))
        try:
            if clock.age_seconds > _INTERVAL_SECONDS:
                clock.set(await store.read_clock())
            if rounds % _PURGE_EVERY == 0:
                await store.purge_request_keys(
                    older_than_seconds=request_key_seconds, limit=_PURGE_LIMIT
                )
        except NoetlError as error:
            _log.warning("upkeep_failed", error=error.message)
        rounds += 1
        await asyncio.sleep(_INTERVAL_SECONDS)
