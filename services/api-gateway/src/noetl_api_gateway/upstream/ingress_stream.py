"""Length and contents of the ingress stream, and the number of dead letters."""

import asyncio
from dataclasses import dataclass

from noetl_bus.broker import Bus
from noetl_bus.errors import BusClosed, BusUnavailable, TopologyRefused
from noetl_bus.jetstream import stream_info
from noetl_common.logging import get_logger
from noetl_common.process.measures import not_measured
from noetl_contract.streams import DEAD, INGRESS

from noetl_api_gateway.metrics import DEAD_LETTERS, INGRESS_BACKLOG

_log = get_logger()
_SECONDS = 2.0


@dataclass(slots=True)
class Backlog:
    """Length of the ingress stream, as last seen."""

    limit: int
    messages: int = 0

    @property
    def is_full(self) -> bool:
        """Whether new executions are to be refused."""
        return self.messages >= self.limit


async def count_messages(bus: Bus) -> int:
    """Return how many messages wait to be processed.

    Raises:
        BusUnavailable: no answer, or no stream.
    """
    try:
        info = await stream_info(bus, INGRESS.name, seconds=_SECONDS)
    except TopologyRefused as error:
        raise BusUnavailable(what=INGRESS.name, reason=error.message) from error
    if info is None:
        raise BusUnavailable(what=INGRESS.name, reason="the stream does not exist")
    return info.messages


async def measure_dead_letters(bus: Bus) -> None:
    """Export how many dead letters there are.

    Raises:
        BusUnavailable, TopologyRefused: no answer.
    """
    info = await stream_info(bus, DEAD.name, seconds=_SECONDS)
    DEAD_LETTERS.set(0 if info is None else info.messages)


async def run_backlog_watch(bus: Bus, backlog: Backlog, *, interval_seconds: float) -> None:
    """Keep the backlog up to date until cancelled."""
    while True:
        try:
            backlog.messages = await count_messages(bus)
        except BusClosed:
            raise
        except BusUnavailable as error:
            not_measured("backlog", INGRESS_BACKLOG)
            _log.debug("ingress_not_counted", reason=error.message)
        else:
            INGRESS_BACKLOG.set(backlog.messages)
        await asyncio.sleep(interval_seconds)
