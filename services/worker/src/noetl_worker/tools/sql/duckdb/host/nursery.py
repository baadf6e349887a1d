"""The first process: loads DuckDB once, then forks processes that serve queries.

It runs no query. What it forks ends with it, and it ends with the worker.
"""

import contextlib
import gc
import os
import signal
import socket
import sys

import orjson
from noetl_common.process.hiding import hide_from_scripts

from noetl_worker.interpreters.host import limits
from noetl_worker.interpreters.host.wire import PID
from noetl_worker.tools.sql.duckdb.host.process import Task, live
from noetl_worker.tools.sql.duckdb.host.wire import STATUS

_REQUEST_BYTES = 64 << 10
_SACRIFICED_FIRST = b"500"


class Ends:
    """The processes, and where the worker reads how they have ended."""

    def __init__(self) -> None:
        self.known: dict[int, int] = {}

    def on_end(self, *_given: object) -> None:
        """Tell of those that have ended."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                told = self.known.pop(pid, None)
                if told is not None:
                    with contextlib.suppress(OSError):
                        os.write(told, STATUS.pack(status))
                    os.close(told)

    def close(self) -> None:
        """Leave them to the parent."""
        for told in self.known.values():
            os.close(told)


def main() -> None:
    """Arguments: descriptor of the requests, the parent's pid."""
    requests, parent = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if not limits.arm_parent_death(signal.SIGTERM, parent=parent):
        os._exit(0)
    # Where memory runs out, the kernel ends a query before it ends the worker.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb") as file:  # noqa: PTH123  once
        file.write(_SACRIFICED_FIRST)
    hide_from_scripts()
    ends = Ends()
    signal.signal(signal.SIGCHLD, ends.on_end)
    gc.collect()
    gc.freeze()
    while True:
        _serve_one(requests, ends)


def _serve_one(requests: socket.socket, ends: Ends) -> None:
    data, given, _, _ = socket.recv_fds(requests, _REQUEST_BYTES, 2)
    if not data:
        os._exit(0)
    control, told = given
    own = os.getpid()
    # An end between the fork and the note would be nobody's.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        requests.close()
        os.close(told)
        ends.close()
        live(socket.socket(fileno=control), Task(**orjson.loads(data)), parent=own)
    handle = os.pidfd_open(pid)
    ends.known[pid] = told
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))
    socket.send_fds(requests, [PID.pack(pid)], [handle])
    for descriptor in (handle, control):
        os.close(descriptor)
