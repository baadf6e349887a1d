"""Since when this process hears which executions are over."""

import asyncio

from noetl_bus.broker import Bus
from noetl_bus.jetstream import stream_info
from noetl_common.clock import ServerClock
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_common.retry import backoff

_log = get_logger()
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_LOOK_SECONDS = 60.0
"""A stream that was deleted and made again counts from 1: that is noticed after a minute."""


class Hearing:
    """Watch over lost connections: whether an end of an execution could have been missed.

    Hints are lost while there is no connection. Of a notification that was stored after the
    present connection was made, this process has heard the end, if there was one; any other is in
    doubt, and its command is claimed first. The same holds for deliveries: a broker that is killed
    forgets those of its last moments, also acknowledged ones, and counts them from 1 again.

    Attributes:
        breaks: how often the connection was lost.
        clock: the broker's, by which the age of a notification is told.
    """

    def __init__(self) -> None:
        self.clock = ServerClock()
        self._after: int | None = None
        self._lost = asyncio.Event()
        self.breaks = 0

    def covers(self, sequence: int) -> bool:
        """Return whether a message of the stream was stored since this process hears hints."""
        return self._after is not None and sequence > self._after

    @property
    def is_sure(self) -> bool:
        """Whether anything is covered."""
        return self._after is not None

    def lose(self) -> None:
        """Note that the connection is gone, or was."""
        self.breaks += 1
        self._after = None
        self._lost.set()

    async def follow(self, bus: Bus, stream: str) -> None:
        """Ask where the stream ends, now and after each loss of the connection.

        The subscription to the hints has to be there already: the broker takes what comes over a
        connection in its order.
        """
        stop = bus.on_disconnect(self.lose)
        try:
            while True:
                await self._ask(bus, stream)
                self._lost.clear()
                try:
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await self._lost.wait()
                except TimeoutError:
                    continue
        finally:
            stop()

    async def _ask(self, bus: Bus, stream: str) -> None:
        async for _ in backoff(
            first_seconds=_FIRST_PAUSE_SECONDS, longest_seconds=_LONGEST_PAUSE_SECONDS
        ):
            await bus.wait_connected()
            breaks = self.breaks
            try:
                info = await stream_info(bus, stream)
            except NoetlError as error:
                _log.info("stream_end_unknown", stream=stream, error=error.message)
                continue
            if info is None or breaks != self.breaks:
                continue
            if self._after is None or info.last_sequence < self._after:
                self._after = info.last_sequence
            return
