"""Clears away the processes and files that a killed stack left behind."""

import os
import signal
import time

from noetl.stack.datadir import DataDirectory
from noetl.stack.process import birth, send, session_members

PATIENCE_SECONDS = 10.0


def clear(data: DataDirectory) -> None:
    """End processes of an earlier stack of this directory that still run.

    Call it only while holding the directory: then whoever is left belongs to nobody. PostgreSQL's
    processes are not touched here, its launcher waits for them: they are writing their data.
    """
    state = data.last_state()
    leaders = {
        pid: entry.get("birth")
        for entry in (state["services"] if state else [])
        if (pid := entry.get("pid")) and entry.get("name") != "postgres"
    }
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left := [pid for leader, token in leaders.items() for pid in _left(leader, token)]:
        for pid in left:
            send(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return  # the start itself will say what is wrong, a port in use for example
        time.sleep(0.02)


def _left(leader: int, token: str | None) -> list[int]:
    now = birth(leader)
    if now is not None and now != token:
        return []  # the number is somebody else's by now
    members = session_members(leader)
    if now is not None and not members:
        members = [leader]  # no /proc here: at least the process itself
    return [pid for pid in members if pid != os.getpid()]
