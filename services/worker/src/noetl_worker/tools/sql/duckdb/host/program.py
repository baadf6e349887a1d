"""The program that serves queries, each process held to its files and its memory."""

import contextlib
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from noetl_common.process.program import hide_from_scripts

from noetl_worker.hosting.host import limits
from noetl_worker.hosting.host.box import Box, give_up_privileges
from noetl_worker.hosting.host.calls import refuse_calls
from noetl_worker.tools.sql.duckdb.host.session import HostSession
from noetl_worker.tools.sql.duckdb.host.wire import CONTROL, OPEN, STOP

_SACRIFICED_FIRST = b"500"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Task of a process, with its directories and bounds.

    Attributes:
        directory: its own, for temporary files.
        cwd: where relative names begin.
        memory_bytes: bound of its data.
        read: paths that it may read, beside the system's; None: nothing is enforced.
        write: paths that it may change.
        beside: the directory of its file, a path without links, which it may change.
        has_network: whether it may connect to servers.
    """

    directory: str
    cwd: str
    memory_bytes: int
    read: list[str] | None
    write: list[str]
    beside: str | None
    has_network: bool


def load(_given: dict[str, Any]) -> Callable[[bytes, list[int], int], None]:
    """Prepare the first process, which runs no query, and return the function that serves them."""
    # Where memory runs out, the kernel ends a query before it ends the worker.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb") as file:  # noqa: PTH123  once
        file.write(_SACRIFICED_FIRST)
    hide_from_scripts()
    return _live


def _live(request: bytes, descriptors: list[int], parent: int) -> None:
    """Serve sessions until the worker closes the control socket."""
    task = Task(**orjson.loads(request))
    if not limits.arm_parent_death(signal.SIGKILL, parent=parent):
        return
    with contextlib.suppress(OSError):
        os.chdir(task.cwd)
    limits.apply_limits(data_bytes=task.memory_bytes)
    if task.read is not None:
        give_up_privileges()
        refuse_calls()
        ports: list[int] | None = None if task.has_network else []
        box = Box(task.directory, read=task.read, write=task.write, ports=ports)
        if task.beside is not None:
            box.allow_exactly(task.beside)
        box.close_in()
    _serve(socket.socket(fileno=descriptors[0]))


def _serve(control: socket.socket) -> None:
    sessions: dict[int, HostSession] = {}
    while True:
        data, given, _, _ = socket.recv_fds(control, CONTROL.size, 1)
        if not data:
            os._exit(0)  # without waiting for what runs
        kind, number = CONTROL.unpack(data)
        if kind == OPEN:
            session = HostSession(
                socket.socket(fileno=given[0]), on_end=partial(sessions.pop, number, None)
            )
            sessions[number] = session
            session.start()
        elif kind == STOP and (found := sessions.get(number)) is not None:
            found.interrupt()
