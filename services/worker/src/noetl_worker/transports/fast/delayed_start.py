"""The start of a run, reported only once its tool has been at work for a moment."""

import asyncio
from collections.abc import Awaitable, Callable

from noetl_common.logging import get_logger

_log = get_logger()


class DelayedStart:
    """Do something after a while, in a task of its own, unless it is ended before.

    Args:
        seconds: how long to wait.
        publish: what is done then; an error of it is logged.
    """

    def __init__(self, seconds: float, publish: Callable[[], Awaitable[None]]) -> None:
        self._publish = publish
        self._task: asyncio.Task[None] | None = None
        # A handle of the loop costs a tenth of a task, and most tools are quicker than it.
        self._handle = asyncio.get_running_loop().call_later(seconds, self._begin)

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._do())

    async def _do(self) -> None:
        try:
            await self._publish()
        except Exception as error:  # noqa: BLE001 -- the run goes on without it
            _log.error("start_failed", error=f"{type(error).__name__}: {error}")

    def end(self) -> None:
        """Do it no more; cancel it if it is being done."""
        self._handle.cancel()
        if self._task is not None:
            self._task.cancel()
