"""Ctrl-C and SIGTERM: the first asks for an end, the second for an end at once."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from noetl.stack.errors import StackError


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


@contextmanager
def ended_in_order(program: str) -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does: its cleanup runs, and it says that it was stopped.

    Raises:
        StackError: a signal has ended the block.
    """
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    except KeyboardInterrupt:
        raise StackError(f"{program} was stopped before its end") from None
    finally:
        signal.signal(signal.SIGTERM, before)
