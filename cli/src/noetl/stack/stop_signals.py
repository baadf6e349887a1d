"""Ctrl-C and SIGTERM: the first asks for an end, the second for an end at once."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class StopSignals:
    """The first SIGINT or SIGTERM sets the event, the second calls ``on_second``."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.on_second: Callable[[], object] = lambda: None

    def handle(self) -> None:
        """Record one signal."""
        if self.event.is_set():
            sys.stdout.write("killing\n")
            sys.stdout.flush()
            self.on_second()
        self.event.set()


@asynccontextmanager
async def stop_signals() -> AsyncIterator[StopSignals]:
    """Catch SIGINT and SIGTERM for the block."""
    signals = StopSignals()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, signals.handle)
    try:
        yield signals
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
