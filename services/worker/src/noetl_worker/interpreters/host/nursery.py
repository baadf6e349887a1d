"""The first process: loads everything once, then forks zygotes on request.

A fork costs a twentieth of a start. It runs no foreign code, and ends with the worker.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

from . import box, calls, limits, sharing
from .traces import Traces
from .wire import PID
from .zygote import Zygote

if TYPE_CHECKING:
    from typing import NoReturn

_LOADED_MODULES = (
    "__future__", "_strptime", "abc", "base64", "binascii", "bisect", "collections", "copy",
    "dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "hashlib", "heapq",
    "hmac", "html", "io", "itertools", "json", "math", "numbers", "operator", "pprint", "random",
    "re", "secrets", "statistics", "string", "struct", "textwrap", "time", "typing",
    "unicodedata", "urllib.parse", "uuid", "zlib",
)  # fmt: skip


_PIPES = 5


def _serve(
    requests: socket.socket,
    *,
    bounds: dict[str, Any],
    libraries: str | None,
    forks_often: bool,
    parent: int,
) -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if not limits.arm_parent_death(signal.SIGTERM, parent=parent):
        os._exit(0)
    _load_modules()
    _prepare_interpreter()
    if libraries is not None:
        _find_libraries(libraries)
    box.give_up_privileges()
    if bounds["box"] is not None:
        calls.refuse_calls()
    limits.adopt_orphans()
    traces = Traces(libraries)
    if forks_often:
        sharing.rehearse(traces)
    gc.collect()
    if forks_often:
        sharing.make_eternal()
    gc.freeze()
    own = os.getpid()
    children = Children()
    signal.signal(signal.SIGCHLD, children.on_end)
    while True:
        directory, pipes, _, _ = socket.recv_fds(requests, 4096, _PIPES)
        if not directory:
            children.on_end()
            os._exit(0)
        # An end between the fork and the note would take the zygote for a stray.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
        pid = os.fork()
        if pid == 0:
            requests.close()
            _become_zygote(directory.decode(), pipes, bounds, traces, parent=own)
        children.known.add(pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))
        handle = os.pidfd_open(pid)
        socket.send_fds(requests, [PID.pack(pid)], [handle])
        for descriptor in (handle, *pipes):
            os.close(descriptor)


def _become_zygote(
    directory: str,
    pipes: list[int],
    bounds: dict[str, Any],
    traces: Traces,
    *,
    parent: int,
) -> NoReturn:
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))
        os.setsid()
        job, report, control, stdout, stderr = pipes
        for given, number in ((stdout, 1), (stderr, 2)):
            os.dup2(given, number)
            os.close(given)
        os.chdir(directory)
        for name in ("HOME", "TMPDIR"):
            _rename(name, directory)
            os.environ[name] = directory
        given = bounds.pop("box")
        zygote = Zygote(
            job=job,
            report=report,
            control=control,
            limits=bounds,
            box=None if given is None else box.Box(directory, **given),
            traces=traces,
        )
        zygote.serve(parent=parent)
    finally:
        os._exit(1)


class Children:
    """The zygotes, and what a script has left behind that took its zygote away.

    Such a process becomes our child, whatever it has done to its session and environment.
    """

    def __init__(self) -> None:
        self.known: set[int] = set()
        own = os.getpid()
        self._list = f"/proc/{own}/task/{own}/children"

    def on_end(self, *_given: object) -> None:
        """Forget zygotes that have ended, and kill what is none."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, _ = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                self.known.discard(pid)
        with contextlib.suppress(OSError), open(self._list) as file:  # noqa: PTH123  the host avoids pathlib
            for pid in map(int, file.read().split()):
                if pid not in self.known:
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGKILL)


def _rename(name: str, value: str) -> None:
    """Change a variable where `/proc` shows it, by which processes left behind are found."""
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_void_p
    place = getenv(name.encode())
    new = value.encode()
    if place and len(ctypes.string_at(place)) == len(new):
        ctypes.memmove(place, new, len(new))


def _load_modules() -> None:
    """Import modules that scripts use often, once for all forks."""
    for name in _LOADED_MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _find_libraries(folder: str) -> None:
    """Let imports find them behind the standard library, before packages that are installed."""
    places = (number for number, path in enumerate(sys.path) if path.endswith("-packages"))
    sys.path.insert(next(places, len(sys.path)), folder)


def _prepare_interpreter() -> None:
    """Make it look as scripts expect it, once for all forks."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        # Line by line, as on a terminal: who watches a script reads each line when it is printed.
        stream = open(  # noqa: SIM115  stays open as long as the process
            descriptor,
            "w",
            buffering=1,
            encoding="utf-8",
            errors="backslashreplace",
            closefd=False,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.argv = [""]

    def leave(code: object = None) -> NoReturn:
        raise SystemExit(code)

    # The two that `site` would add; we leave it out with the installed packages.
    for name in ("exit", "quit"):
        if not hasattr(builtins, name):
            setattr(builtins, name, leave)


def main() -> None:
    """Arguments: socket fd, parent's pid, limits as JSON."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    parent, bounds = int(sys.argv[2]), json.loads(sys.argv[3])
    _serve(
        requests,
        bounds=bounds,
        libraries=bounds.pop("libraries"),
        forks_often=bounds.pop("forks_often"),
        parent=parent,
    )
