"""The program of warm interpreters: loads the modules of scripts once; each fork is a zygote."""

from __future__ import annotations

import builtins
import contextlib
import gc
import importlib
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from noetl_worker.hosting.host import box, calls, limits
from noetl_worker.interpreters.host import sharing, shortcuts
from noetl_worker.interpreters.host.traces import Traces
from noetl_worker.interpreters.host.zygote import Zygote

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

_LOADED_MODULES = (
    "__future__", "_strptime", "abc", "base64", "binascii", "bisect", "collections", "copy",
    "dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "hashlib", "heapq",
    "hmac", "html", "io", "itertools", "json", "math", "numbers", "operator", "pprint", "random",
    "re", "secrets", "statistics", "string", "struct", "textwrap", "time", "typing",
    "unicodedata", "urllib.parse", "uuid", "zlib",
)  # fmt: skip


def load(given: dict[str, Any]) -> Callable[[bytes, list[int], int], None]:
    """Load the modules of scripts, for all forks, and return the function that makes a zygote.

    Args:
        given: bounds of the scripts, and how they are prepared.
    """
    libraries: str | None = given.pop("libraries")
    forks_often: bool = given.pop("forks_often")
    _load_modules()
    _prepare_interpreter()
    if libraries is not None:
        _find_libraries(libraries)
    _hide_ourselves()
    box.give_up_privileges()
    if given["box"] is not None:
        calls.refuse_calls()
    traces = Traces(libraries)
    is_quick = given.pop("shortcuts") and shortcuts.are_safe()
    if forks_often:
        sharing.rehearse(traces)
        gc.collect()
        if is_quick:
            shortcuts.make_eternal()
    fork = shortcuts.fork_of(is_quick=is_quick)
    return partial(_become_zygote, bounds=given, traces=traces, fork=fork)


def _become_zygote(
    request: bytes,
    descriptors: list[int],
    parent: int,
    *,
    bounds: dict[str, Any],
    traces: Traces,
    fork: Callable[[], int],
) -> None:
    directory = request.decode()
    os.setsid()
    job, report, control, stdout, stderr = descriptors
    for given, number in ((stdout, 1), (stderr, 2)):
        os.dup2(given, number)
        os.close(given)
    os.chdir(directory)
    for name in ("HOME", "TMPDIR"):
        os.environ[name] = directory
    # Inherited by each script.
    limits.apply_limits(memory_bytes=bounds["memory_bytes"], file_bytes=bounds["file_bytes"])
    rules = bounds["box"]
    Zygote(
        job=job,
        report=report,
        control=control,
        largest=bounds["result_bytes"],
        box=None if rules is None else box.Box(directory, **rules),
        traces=traces,
        fork=fork,
    ).serve(parent=parent)


def _load_modules() -> None:
    """Import modules that scripts use often, once for all forks."""
    for name in _LOADED_MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _find_libraries(folder: str) -> None:
    """Let imports find them behind the standard library, before packages that are installed."""
    places = (number for number, path in enumerate(sys.path) if path.endswith("-packages"))
    sys.path.insert(next(places, len(sys.path)), folder)


def _hide_ourselves() -> None:
    """Let scripts import no module of ours, which they would find loaded."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "noetl_worker"]:
        del sys.modules[name]


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
