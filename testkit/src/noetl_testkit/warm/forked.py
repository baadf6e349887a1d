"""A fork that becomes a program, with all that ``exec`` would have given it anew."""

import contextvars
import ctypes
import gc
import importlib
import os
import runpy
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import structlog
from noetl.stack.services import MODULES

from noetl_testkit.warm.measured import Loading

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_FIRST_FILE, _LAST_FILE = 3, 1 << 20
_libc = ctypes.CDLL(None)


@dataclass(frozen=True, kw_only=True)
class Start:
    """Parameters with which a program is started.

    Attributes:
        module: is run as ``python -m`` does; None for ``noetl-server``.
        arguments: those behind the program's name.
        files: become its standard input, output and error output.
        environment: its whole environment.
        folder: its working directory; None for that of its parent.
        in_session: whether it leads a session of its own.
        ends_with_parent: whether the kernel kills it when its parent ends.
    """

    module: str | None
    arguments: Sequence[str]
    files: tuple[int, int, int]
    environment: Mapping[str, str]
    folder: str | None = None
    in_session: bool = False
    ends_with_parent: bool = False


class Forks(subprocess.Popen[Any]):
    """Forks for a service that was asked for as ``python -m``; else the usual process."""

    loading: ClassVar[Loading]

    def _execute_child(self, args: Any, *rest: Any) -> None:
        # The parameters of Python 3.13.
        (_, _, _, _, cwd, env, _, _, _, p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite,
         _, gid, gids, uid, umask, in_session, group) = rest  # fmt: skip
        words = [os.fsdecode(word) for word in args] if isinstance(args, list | tuple) else []
        ends_with_parent = words[1:3] == ["--pdeathsig", "KILL"]
        words = words[3:] if ends_with_parent else words
        is_ours = words[:2] == [sys.executable, "-m"] and words[2] in MODULES.values()
        if not is_ours or (gid, gids, uid, umask, group) != (None, None, None, -1, -1):
            super()._execute_child(args, *rest)  # type: ignore[misc]
            return
        start = Start(
            module=words[2],
            arguments=words[3:],
            files=_own_where_none((p2cread, c2pwrite, errwrite)),
            environment=dict(os.environ if env is None else env),
            folder=cwd,
            in_session=in_session,
            ends_with_parent=ends_with_parent,
        )
        self.pid = fork(start)
        self._child_created = True
        self._close_pipe_fds(  # type: ignore[attr-defined]
            p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite
        )


def _own_where_none(files: tuple[int, int, int]) -> tuple[int, int, int]:
    read, written, errors = files
    return max(read, 0), written if written >= 0 else 1, errors if errors >= 0 else 2


def fork(start: Start) -> int:
    """Fork and return the id of the child, which runs the program and ends."""
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # Threads of ours wait for work, and hold nothing that the child takes.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 70
        try:
            code = contextvars.Context().run(_become, start)
        finally:
            # Nothing of the parent's is taken apart here.
            os._exit(code)
    return pid


def _become(start: Start) -> int:
    # What is dropped now may hold files of the parent, whose numbers will be others'.
    gc.freeze()
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) is not None and number < signal.SIGRTMIN:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    if start.in_session:
        os.setsid()
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    if start.ends_with_parent:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _take_files(start.files)
    os.environ.clear()
    os.environ.update(start.environment)
    if start.folder is not None:
        os.chdir(start.folder)
    structlog.reset_defaults()
    try:
        _run(start)
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
            return 1
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 -- as the interpreter's own end does
        sys.excepthook(*sys.exc_info())
        return 130 if isinstance(sys.exception(), KeyboardInterrupt) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _take_files(files: Sequence[int]) -> None:
    kept = [os.dup(file) for file in files]
    for number, file in enumerate(kept):
        os.dup2(file, number)
    os.closerange(_FIRST_FILE, _LAST_FILE)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _run(start: Start) -> None:
    if start.module is None:
        sys.argv = ["noetl-server", *start.arguments]
        importlib.import_module("noetl.main").main()
        return
    Forks.loading.keep(f"{start.module}.__main__")
    sys.argv = [start.module, *start.arguments]
    runpy.run_module(f"{start.module}.__main__", run_name="__main__", alter_sys=True)
