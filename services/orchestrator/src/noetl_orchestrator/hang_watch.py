"""End a process whose event loop hangs, so that another process gets its messages."""

import asyncio
import faulthandler
import sys
from collections.abc import Callable


async def run_hang_watch(seconds: float, beat: Callable[[], None] = lambda: None) -> None:
    """Postpone the end of the process as long as the event loop turns.

    The timer belongs to the interpreter, not to Python: it also ends a process inside of a call
    that never returns and lets no other thread run. It writes to stderr where that was.
    """
    file = sys.__stderr__ or sys.stderr
    try:
        while True:
            beat()
            faulthandler.dump_traceback_later(seconds, exit=True, file=file)
            await asyncio.sleep(seconds / 4)
    finally:
        faulthandler.cancel_dump_traceback_later()
