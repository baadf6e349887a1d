"""Watch for pools read by one durable; only their commands travel inside notifications.

With two durables on a pool's subject every command is delivered twice as a first delivery, so
commands are inlined only while exactly one covers it.
"""

import asyncio
from collections.abc import Sequence
from time import monotonic

from noetl_bus.broker import Bus
from noetl_bus.jetstream import list_consumers
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.streams import COMMANDS
from noetl_contract.subjects import command_subject

from noetl_orchestrator import metrics

_log = get_logger()
_SOONEST_LOOK_SECONDS = 1.0


class PoolWatch:
    """Watch the durables of the command stream.

    Args:
        interval_seconds: pause between two looks.
    """

    def __init__(self, bus: Bus, *, interval_seconds: float) -> None:
        self._bus = bus
        self._interval = interval_seconds
        self._filters: list[tuple[str, ...]] = []
        self._counts: dict[str, int] = {}
        self._wanted = asyncio.Event()

    def may_inline(self, pool: str | None) -> bool:
        """Return whether exactly one durable covers the pool's subject, as of the last look."""
        if pool is None:
            return False
        count = self._counts.get(pool)
        if count is None:
            subject = command_subject(pool, execution_id=1)
            count = sum(covers(filters, subject) for filters in self._filters)
            self._counts[pool] = count
            self._tell(pool, count)
        if count == 0:
            # The first worker of the pool may have just started.
            self._wanted.set()
        return count == 1

    async def look(self) -> None:
        """Read the durables now."""
        consumers = await list_consumers(self._bus, COMMANDS.name) or []
        self._filters = [found.filters for found in consumers if found.config.get("durable_name")]
        self._counts.clear()
        metrics.POOLS_NOT_INLINED.set(0)

    async def run(self) -> None:
        """Look every interval while connected, and soon after a request for an unknown pool."""
        stop = self._bus.on_reconnect(self._on_reconnect)
        try:
            while True:
                looked = monotonic()
                try:
                    await self._bus.wait_connected()
                    await self.look()
                except NoetlError as error:
                    _log.warning("durables_not_read", error=error.message)
                await self._pause(looked)
        finally:
            stop()

    async def _pause(self, looked: float) -> None:
        try:
            async with asyncio.timeout(self._interval):
                await self._wanted.wait()
        except TimeoutError:
            return
        await asyncio.sleep(max(0.0, looked + _SOONEST_LOOK_SECONDS - monotonic()))
        self._wanted.clear()

    async def _on_reconnect(self) -> None:
        self._wanted.set()

    def _tell(self, pool: str, count: int) -> None:
        if count > 1:
            metrics.POOLS_NOT_INLINED.inc()
            _log.warning("commands_not_inlined", pool=pool, durables=count)


def covers(filters: Sequence[str], subject: str) -> bool:
    """Return whether one of the filters matches a subject; no filter matches everything."""
    return not filters or any(_matches(pattern, subject) for pattern in filters)


def _matches(pattern: str, subject: str) -> bool:
    wanted, tokens = pattern.split("."), subject.split(".")
    for index, word in enumerate(wanted):
        if word == ">":
            return len(tokens) > index
        if index >= len(tokens) or word not in {"*", tokens[index]}:
            return False
    return len(wanted) == len(tokens)
