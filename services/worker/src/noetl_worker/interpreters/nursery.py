"""The process from which warm interpreters are forked, and the bounds of their scripts."""

import os
import sys
from dataclasses import asdict, dataclass

from noetl_worker.hosting.fork_server import ForkServer

PREFIX = "noetl-python-"
"""Of the names of directories of scripts."""
FILES_EACH = 7
"""Open files that the worker has for an interpreter: its pipes, and one for each process."""


@dataclass(frozen=True, slots=True)
class InterpreterLimits:
    """Bounds on the memory, files and output of one script; 0 means none."""

    memory_bytes: int
    file_bytes: int
    output_bytes: int
    result_bytes: int
    box: "ScriptBox | None" = None
    """None: they have the rights of the worker's user."""
    place: str = ""
    """The folder of their directories; empty: that of the system's temporary files."""
    shortcuts: bool = True
    """Whether they may start sooner by internals of interpreters that this was tried with."""


@dataclass(frozen=True, slots=True)
class ScriptBox:
    """Paths and ports that scripts may reach beside the system, their interpreter and directory."""

    read: tuple[str, ...] = ()
    """Paths to read."""
    write: tuple[str, ...] = ()
    """Paths to read and change."""
    ports: tuple[int, ...] | None = None
    """TCP ports to connect to and to listen at; None: all."""


def make_nursery(
    *,
    executable: str | None,
    limits: InterpreterLimits,
    libraries: str | None = None,
    forks_often: bool = True,
) -> ForkServer:
    """Return the process whose forks are zygotes, which end with it.

    Args:
        executable: the interpreter; without it our own, without installed packages.
        limits: bounds of its scripts.
        libraries: folder of packages that they find beside the standard library.
        forks_often: take a moment at the start to make each fork cheaper.
    """
    return ForkServer(
        "noetl_worker.interpreters.host.program",
        {**asdict(limits), "libraries": libraries, "forks_often": forks_often},
        environment=_environment(libraries),
        executable=executable or sys._base_executable,  # type: ignore[attr-defined]  # noqa: SLF001  the one outside of environments
        options=("-I", *(() if executable else ("-S",)), "-X", "utf8"),
    )


def _environment(libraries: str | None) -> dict[str, str]:
    """Return the environment of scripts: enough to find programs, nothing of the worker's."""
    kept = {name: value for name in ("PATH", "TZ") if (value := os.environ.get(name))}
    # For programs that scripts start; scripts themselves get the folder in another way.
    found = {} if libraries is None else {"PYTHONPATH": libraries}
    return {
        "PATH": os.defpath,
        **kept,
        **found,
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
