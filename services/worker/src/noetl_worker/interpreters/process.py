"""The processes of warm interpreters, with their pipes."""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import orjson

from noetl_worker.interpreters.fork_server import ForkServer, StartFailed, is_readable

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv.pop()); "
    "from host.nursery import main; del sys.path[0]; main()"
)
PREFIX = "noetl-python-"
"""Of the names of directories of scripts."""
FILES_EACH = 7
"""Open files that the worker has for an interpreter: its pipes, and one for each process."""
_HOST_DIRECTORY = str(Path(__file__).parent)


@dataclass(frozen=True, slots=True)
class InterpreterLimits:
    """Bounds on what one script may use or leave in memory here; 0 means none."""

    memory_bytes: int
    file_bytes: int
    output_bytes: int
    result_bytes: int
    box: "ScriptBox | None" = None
    """None: they may reach what the worker's user may."""
    place: str = ""
    """Where their directories are made; empty: where the system has temporary files."""


@dataclass(frozen=True, slots=True)
class ScriptBox:
    """What scripts may reach beside the system, their interpreter and their own directory."""

    read: tuple[str, ...] = ()
    """Paths to read."""
    write: tuple[str, ...] = ()
    """Paths to read and change."""
    ports: tuple[int, ...] | None = None
    """TCP ports to connect to and to listen at; None: all."""


class ZygoteProcess:
    """A started zygote: its directory, and the worker's ends of its pipes.

    It is no child of ours, so it is known by a descriptor: a number may be another's soon.
    """

    def __init__(self, pid: int, handle: int, *, directory: str, pipes: tuple[int, ...]) -> None:
        self.pid = pid
        self.directory = directory
        self.job, self.report, self.control, self.stdout, self.stderr = pipes
        self._handle = handle

    def send_signal(self, number: int) -> None:
        """Send a signal, if it is there."""
        if self._handle >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    async def wait(self, *, seconds: float) -> bool:
        """Wait for its end; False if that takes too long."""
        if self._handle < 0:
            return True
        if not await is_readable(self._handle, seconds=seconds):
            return False
        os.close(self._handle)
        self._handle = -1
        return True


class Nursery:
    """The process whose forks are zygotes; started with the first of them.

    It lives as long as one of its zygotes is needed: they end with it.

    Args:
        executable: the interpreter; without it our own, without installed packages.
        limits: bounds of its scripts.
        libraries: folder of packages that they find beside the standard library.
        forks_often: take a moment at the start to make each fork cheaper.
    """

    def __init__(
        self,
        *,
        executable: str | None,
        limits: InterpreterLimits,
        libraries: str | None = None,
        forks_often: bool = True,
    ) -> None:
        self._limits = limits
        self._server = ForkServer(
            lambda requests: _command(
                executable, requests, limits, libraries, forks_often=forks_often
            ),
            lambda: _environment(f"{self._parent}/{PREFIX}{'_' * 8}", libraries),
        )

    @cached_property
    def _parent(self) -> str:
        return self._limits.place or tempfile.gettempdir()

    async def start_zygote(self) -> ZygoteProcess:
        """Start a zygote in a new directory.

        Raises:
            StartFailed: the program is not there or can't be started.
        """
        directory = tempfile.mkdtemp(prefix=PREFIX, dir=self._parent)
        pairs: list[tuple[int, int]] = []
        try:
            pairs.extend(os.pipe() for _ in range(5))
        except OSError as error:
            for descriptor in chain.from_iterable(pairs):
                os.close(descriptor)
            shutil.rmtree(directory, ignore_errors=True)
            raise StartFailed.of(error) from error
        # Of the job the worker has the end to write to, of the others the end to read from.
        (theirs, ours), *outputs = pairs
        given = (theirs, *(pair[1] for pair in outputs))
        kept = (ours, *(pair[0] for pair in outputs))
        try:
            pid, handle = await self._server.fork(directory.encode(), given)
        except BaseException:
            for descriptor in kept:
                os.close(descriptor)
            shutil.rmtree(directory, ignore_errors=True)
            raise
        finally:
            for descriptor in given:
                os.close(descriptor)
        return ZygoteProcess(pid, handle, directory=directory, pipes=kept)

    async def close(self) -> None:
        """End it with all its zygotes."""
        await self._server.close()


def _command(
    executable: str | None,
    requests: int,
    limits: InterpreterLimits,
    libraries: str | None,
    *,
    forks_often: bool,
) -> list[str]:
    """Return the command line; `host.nursery.main` reads its arguments."""
    options = ["-I", "-X", "utf8"] if executable else ["-I", "-S", "-X", "utf8"]
    box = limits.box
    bounds = {
        "memory_bytes": limits.memory_bytes,
        "file_bytes": limits.file_bytes,
        "result_bytes": limits.result_bytes,
        "box": None if box is None else asdict(box),
        "libraries": libraries,
        "forks_often": forks_often,
    }
    return [
        executable or sys._base_executable,  # type: ignore[attr-defined]  # noqa: SLF001  the one outside of environments
        *options,
        "-c",
        _BOOT,
        str(requests),
        str(os.getpid()),
        orjson.dumps(bounds).decode(),
        _HOST_DIRECTORY,
    ]


def _environment(directory: str, libraries: str | None) -> dict[str, str]:
    """Return the environment of scripts: enough to find programs, nothing of the worker's."""
    kept = {name: value for name in ("PATH", "TZ") if (value := os.environ.get(name))}
    # For what scripts start; they themselves are told otherwise.
    found = {} if libraries is None else {"PYTHONPATH": libraries}
    return {
        "PATH": os.defpath,
        **kept,
        **found,
        "HOME": directory,
        "TMPDIR": directory,
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
