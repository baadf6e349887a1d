"""The first process: loads a program once, then forks processes of it on request.

A fork costs a twentieth of a start. It runs no foreign code, and ends with the worker; what it
forks ends with it.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import json
import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

from noetl_worker.hosting.host import limits
from noetl_worker.hosting.host.wire import PID, STATUS, STRAYS, TOLD

if TYPE_CHECKING:
    from collections.abc import Callable

    Live = Callable[[bytes, list[int], int], object]
    """Work of a process with its request, its descriptors and its parent; then it ends."""

_REQUEST_BYTES = 64 << 10
_MOST_DESCRIPTORS = 8
_PASSES = 3000
_PAUSE_SECONDS = 0.001


class Children:
    """The processes that were forked, and leftovers of those that have ended.

    Such a process becomes our child, whatever it has done to its session and environment.
    """

    def __init__(self) -> None:
        self.known: dict[int, int | None] = {}
        """Descriptors over which the ends of processes are reported to the worker, by pid."""
        own = os.getpid()
        self._list = f"/proc/{own}/task/{own}/children"

    def on_end(self, *_given: object) -> None:
        """Report the processes that have ended, and kill strays."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                report_to = self.known.pop(pid, None)
                if report_to is not None:
                    with contextlib.suppress(OSError):
                        os.write(report_to, STATUS.pack(status))
                    os.close(report_to)
        for pid in self._strays():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def end_strays(self) -> None:
        """Wait until nothing is there that one has left behind, for a few seconds at most."""
        for _ in range(_PASSES):
            self.on_end()
            if not self._strays():
                return
            time.sleep(_PAUSE_SECONDS)

    def _strays(self) -> list[int]:
        try:
            with open(self._list) as file:  # noqa: PTH123  the host avoids pathlib
                return [pid for pid in map(int, file.read().split()) if pid not in self.known]
        except OSError:
            return []

    def leave(self) -> None:
        """Leave them to the parent."""
        for report_to in self.known.values():
            if report_to is not None:
                os.close(report_to)


def main() -> None:
    """Arguments: descriptor of the requests, the parent's pid, the program, its configuration."""
    requests, parent = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if not limits.arm_parent_death(signal.SIGTERM, parent=parent):
        os._exit(0)
    limits.adopt_orphans()
    limits.mark_as_hosted()
    live: Live = importlib.import_module(sys.argv[3]).load(json.loads(sys.argv[4]))
    gc.collect()
    gc.freeze()
    children = Children()
    signal.signal(signal.SIGCHLD, children.on_end)
    while True:
        _serve_one(requests, live, children)


def _serve_one(requests: socket.socket, live: Live, children: Children) -> None:
    request, given, flags, _ = socket.recv_fds(requests, _REQUEST_BYTES, _MOST_DESCRIPTORS)
    if not request:
        children.on_end()
        os._exit(0)
    number = 0
    handles: list[int] = []
    if request == STRAYS:
        children.end_strays()
    elif flags & socket.MSG_CTRUNC:  # some of its descriptors found no room
        number = -errno.EMFILE
    else:
        try:
            number, handle = _fork(request, given, requests, live, children)
            handles.append(handle)
        except OSError as error:
            number = -(error.errno or errno.EAGAIN)
    socket.send_fds(requests, [PID.pack(number)], handles)
    for descriptor in (*handles, *given):
        os.close(descriptor)


def _fork(
    request: bytes, given: list[int], requests: socket.socket, live: Live, children: Children
) -> tuple[int, int]:
    """Return number and descriptor of a new process; takes the one for its end from `given`."""
    is_reported = request.startswith(TOLD)
    own = os.getpid()
    # An end before the note would be nobody's, and the process a stray; one before its descriptor
    # is open would leave the number to others.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
    try:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                for number in (signal.SIGCHLD, signal.SIGTERM):
                    signal.signal(number, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))
                requests.close()
                children.leave()
                if is_reported:
                    os.close(given.pop())
                live(request[len(TOLD) :], given, own)
                status = 0
            finally:
                os._exit(status)
        children.known[pid] = given.pop() if is_reported else None
        return pid, os.pidfd_open(pid)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))
