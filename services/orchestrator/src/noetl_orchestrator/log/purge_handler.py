"""Upkeep of the log: a loop makes partitions ahead, a request removes what is old."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from noetl_common.bus.rpc import Handler, handle
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_common.metrics import gauge
from noetl_contract.rpc.orchestrator import PURGE, LogPurged, LogPurgeRequest

from noetl_orchestrator.log.retention import Retention

_log = get_logger()
_INTERVAL_SECONDS = 600.0
_RETRY_SECONDS = 15.0
_MAX_COUNTED = 10_000
_LONGEST_DAYS = 365 * 60


async def run_partitions(
    retention: Retention, *, ahead_days: int, beat: Callable[[], None] = lambda: None
) -> None:
    """Create partitions ahead and watch the default partition, until cancelled."""
    strays = gauge(
        "noetl_event_default_rows",
        "Rows of the log that are outside of all its partitions; anything but 0 needs a look.",
    )
    while True:
        beat()
        pause = _INTERVAL_SECONDS
        try:
            now = await retention.read_clock()
            added = await retention.add_partitions(until=now + timedelta(days=ahead_days))
            if added:
                _log.info("partitions_added", names=added)
            count = await retention.count_default(up_to=_MAX_COUNTED)
            strays.set(count)
            if count:
                _log.warning("rows_outside_of_partitions", count=count)
        except NoetlError as error:
            _log.warning("partitions_not_kept", error=error.message)
            pause = _RETRY_SECONDS
        await _sleep(pause, beat)


class PurgeHandler:
    """Answer ``purge``: delete old commands, and drop partitions that are not needed."""

    def __init__(self, retention: Retention, *, commands_at_once: int) -> None:
        self._retention = retention
        self._commands_at_once = commands_at_once

    def handlers(self) -> list[Handler]:
        """Return the handler of the operation."""
        return [handle(PURGE, self.on_purge)]

    async def on_purge(self, request: LogPurgeRequest) -> LogPurged:
        """Delete rows older than the retention windows; a window of 0 keeps all."""
        now = await self._retention.read_clock()
        days = min(request.command_retention_days, _LONGEST_DAYS)
        commands = 0
        if days > 0:
            commands = await self._retention.delete_commands(
                ended_before=now - timedelta(days=days), limit=self._commands_at_once
            )
        days = min(request.event_retention_days, _LONGEST_DAYS)
        dropped: list[str] = []
        if days > 0:
            dropped = await self._retention.drop_partitions(ended_before=now - timedelta(days=days))
            if dropped:
                _log.info("partitions_dropped", names=dropped)
        return LogPurged(commands_purged=commands, event_partitions_dropped=dropped)


async def _sleep(seconds: float, beat: Callable[[], None]) -> None:
    """Sleep, and report regularly that the loop is alive."""
    while seconds > 0:
        await asyncio.sleep(min(5.0, seconds))
        seconds -= 5.0
        beat()
