"""Processes left of a fork server that was killed: they become children of the worker.

A script can kill the parents that would end what it leaves behind. It can't take off the mark that
it has of them, by which the worker distinguishes its processes from its own.
"""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from noetl_common.logging import get_logger

from noetl_worker.hosting.host import limits

_log = get_logger()
_END_SECONDS = 5.0
_PAUSE_SECONDS = 0.001

fork_servers: set[int] = set()
"""Fork servers that are children of this process: they are no orphans."""


async def end_orphans() -> None:
    """End all that fork servers have left behind, and wait until it is gone."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _END_SECONDS
    while found := _orphans():
        alive = [pid for pid in found if not _is_reaped(pid)]
        for pid in alive:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if loop.time() > deadline:
            _log.error("orphans_left", pids=alive)
            return
        if alive:
            await asyncio.sleep(_PAUSE_SECONDS)


def _orphans() -> list[int]:
    own = os.getpid()
    try:
        children = Path(f"/proc/{own}/task/{own}/children").read_text()
    except OSError:  # another system
        return []
    pids = (int(pid) for pid in children.split())
    return [pid for pid in pids if pid not in fork_servers and limits.is_hosted(pid)]


def _is_reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
