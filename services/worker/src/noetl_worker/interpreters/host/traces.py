"""Traces of a script in its process.

A process serves scripts of one execution only, which have one author and one tenant: this is
about cleanliness, not about security. So the look is cheap and covers what scripts change in
practice; any doubt ends the process, which costs a fork and nothing else.
"""

from __future__ import annotations

import _warnings
import atexit
import builtins
import gc
import inspect
import os
import resource
import signal
import sys
import threading
from types import CodeType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_GROWTH_LIMIT_KB = 32 << 10
# Compared by these names and by their number of names: each look at a value copies its page.
_SYSTEM_NAMES = (
    "__excepthook__", "__stderr__", "__stdout__", "addaudithook", "breakpointhook", "displayhook",
    "dont_write_bytecode", "excepthook", "exit", "modules", "stderr", "stdin", "stdout",
    "tracebacklimit", "unraisablehook",
)  # fmt: skip
_HEAP_TYPE = 1 << 9
_DIALECTS = 3  # of the module csv itself
_ROOTS_LEFT_OUT = frozenset({"__main__", "builtins", "sys"})
# The function of C, without the enumerations around it.
_handler_of = inspect.unwrap(signal.getsignal)
_SIGNALS = tuple(number for number in range(1, 32) if number not in (9, 19))
# Processes of its own, native code, limits, hooks: looking for their traces would cost more
# than a fork.
_MARKING_EVENTS = frozenset(
    {
        "ctypes.call_function", "ctypes.cdata", "ctypes.dlopen", "ctypes.dlsym",
        "ctypes.string_at", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn",
        "os.system", "pty.spawn", "resource.prlimit", "resource.setrlimit", "subprocess.Popen",
        "sys.addaudithook", "sys.setprofile", "sys.settrace", "sys.set_asyncgen_hooks_firstiter",
        "threading.setprofile", "threading.settrace",
    }
)  # fmt: skip


class Traces:
    """The look of a process before its first script; compared after each.

    Made once and shared by all forks: copying so much in each would cost more than
    the fork itself.
    """

    def __init__(self, libraries: str | None = None) -> None:
        # The packages that every script of this nursery has are as good as the standard library.
        found = () if libraries is None else os.listdir(libraries)  # noqa: PTH208  as below
        self._roots = sys.stdlib_module_names.union(name.partition(".")[0] for name in found)
        self._environment: dict[Any, Any] = {}
        self._modules = len(sys.modules)
        self._known = set(sys.modules)
        self._watched = _watched_modules()
        self._lists = [
            (given, list(given)) for given in (sys.path, sys.meta_path, sys.path_hooks, sys.argv)
        ]
        self._signals: list[object] = []
        self._settings = _settings()
        self._place: tuple[int, int] | None = None
        self._streams: list[tuple[int, int]] = []
        self._builtins = dict(builtins.__dict__)
        self._system = _system()
        self._descriptors = 0
        self._exit_functions = atexit._ncallbacks()  # noqa: SLF001  no other way to know
        self._size = 0
        self._is_marked = False
        sys.addaudithook(self._on_event)

    def settle(self, *, descriptors_closed: int) -> None:
        """Look at the surroundings that all processes of one zygote have.

        Args:
            descriptors_closed: number of open files that they close at their start.
        """
        self._environment = dict(_environment())
        self._place = _place()
        self._streams = _streams()
        self._descriptors = _open_descriptors() - descriptors_closed
        self._signals = [_handler_of(number) for number in _SIGNALS]
        self._signals[_SIGNALS.index(signal.SIGTERM)] = signal.SIG_DFL

    def begin(self) -> None:
        """Look at properties of this process alone, before its first script."""
        self._size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self._is_marked = False

    def are_alive(self) -> bool:
        """Return whether a script left something that still runs or is sure to run."""
        gc.collect()  # its finalizers run now, in its own time
        return (
            self._is_marked
            or threading.active_count() != 1
            or signal.getitimer(signal.ITIMER_REAL)[0] > 0
            or atexit._ncallbacks() != self._exit_functions  # noqa: SLF001  no other way to know
        )

    def are_found(self, code: CodeType) -> bool:
        """Return whether a script changed the process, beside what `are_alive` finds.

        Args:
            code: the script: only modules it names are compared.
        """
        return (
            _settings() != self._settings
            or _environment() != self._environment
            or any(now != before for now, before in self._lists)
            or any(
                now is not before
                for now, before in zip(map(_handler_of, _SIGNALS), self._signals, strict=True)
            )
            or self._has_files()
            or self._has_modules()
            or self._has_changed_modules(code)
            or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > self._size + _GROWTH_LIMIT_KB
        )

    def _on_event(self, event: str, _arguments: object) -> None:
        if event in _MARKING_EVENTS:
            self._is_marked = True

    def _has_files(self) -> bool:
        return (
            sys.stdout.closed
            or sys.stderr.closed
            or _place() != self._place
            or bool(os.listdir("."))  # noqa: PTH208  faster
            or _streams() != self._streams
            or _open_descriptors() != self._descriptors
        )

    def _has_modules(self) -> bool:
        """Return whether a module is new that scripts don't all have, or one has state."""
        if len(sys.modules) != self._modules:
            new = sys.modules.keys() - self._known
            if any(name.partition(".")[0] not in self._roots for name in new):
                return True
            self._known |= new
            self._modules = len(sys.modules)
        return _has_library_state()

    def _has_changed_modules(self, code: CodeType) -> bool:
        names = {name.partition(".")[0] for name in _names(code)} & self._watched.keys()
        return (
            builtins.__dict__ != self._builtins
            or _system() != self._system
            or any(now != before for name in names for now, before in self._watched[name])
        )


def _watched_modules() -> dict[str, list[tuple[Mapping[str, Any], dict[str, Any]]]]:
    """Return the attributes of all modules and their classes, by name of the root module."""
    found: dict[str, list[tuple[Mapping[str, Any], dict[str, Any]]]] = {}
    for name, module in list(sys.modules.items()):
        root = name.partition(".")[0]
        if root in _ROOTS_LEFT_OUT:
            continue
        pairs = found.setdefault(root, [])
        pairs.append((module.__dict__, dict(module.__dict__)))
        pairs.extend(
            (vars(value), dict(vars(value)))
            for value in list(module.__dict__.values())
            if isinstance(value, type)
            and value.__flags__ & _HEAP_TYPE
            and value.__module__.partition(".")[0] == root
        )
    found["os"] += found.get("posixpath", [])
    return found


def _names(code: CodeType) -> Iterable[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
        elif isinstance(constant, str):
            yield constant


def _environment() -> dict[Any, Any]:
    """Return the variables as they are kept: each comparison would decode them anew."""
    kept: dict[Any, Any] = os.environ._data  # type: ignore[attr-defined]  # noqa: SLF001
    return kept


def _settings() -> tuple[object, ...]:
    mask = os.umask(0o77)
    os.umask(mask)
    return (
        mask,
        sys.getrecursionlimit(),
        gc.isenabled(),
        len(_warnings.filters),
    )


def _system() -> list[object]:
    given = sys.__dict__
    return [len(given), *map(given.get, _SYSTEM_NAMES)]


def _has_library_state() -> bool:
    """Return whether the well-known global state of a library module is not as at its import."""
    modules = sys.modules
    logging = modules.get("logging")
    if logging is not None and (logging.root.handlers or logging.root.level != logging.WARNING):
        return True
    socket = modules.get("_socket")
    if socket is not None and socket.getdefaulttimeout() is not None:
        return True
    csv = modules.get("csv")
    return csv is not None and len(csv.list_dialects()) > _DIALECTS


def _place() -> tuple[int, int] | None:
    try:
        found = os.stat(".")  # noqa: PTH116  the host avoids pathlib
    except OSError:
        return None
    return found.st_dev, found.st_ino if found.st_nlink else 0


def _streams() -> list[tuple[int, int]]:
    return [(found.st_dev, found.st_ino) for found in map(os.fstat, (0, 1, 2))]


def _open_descriptors() -> int:
    # The faster one of two ways; pathlib costs four times as much.
    return len(os.listdir("/proc/self/fd")) if _HAS_PROC else 0  # noqa: PTH208


_HAS_PROC = os.path.isdir("/proc/self/fd")  # noqa: PTH112  as above
