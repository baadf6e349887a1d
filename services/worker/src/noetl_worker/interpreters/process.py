"""The processes of warm interpreters, with their pipes."""

import asyncio
import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import orjson

from noetl_worker.interpreters.host.wire import PID

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv.pop()); "
    "from host.nursery import main; del sys.path[0]; main()"
)
_PREFIX = "noetl-python-"
_START_SECONDS = 30.0
_FORK_SECONDS = 5.0
_HOST_DIRECTORY = str(Path(__file__).parent)


class StartFailed(Exception):
    """The interpreter could not be started."""


@dataclass(frozen=True, slots=True)
class InterpreterLimits:
    """Bounds on what one script may use or leave in memory here; 0 means none."""

    memory_bytes: int
    file_bytes: int
    output_bytes: int
    result_bytes: int


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

    def wait(self, *, timeout: float) -> bool:
        """Wait for its end; False if that takes too long."""
        if self._handle < 0:
            return True
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        if not poll.poll(timeout * 1000):
            return False
        os.close(self._handle)
        self._handle = -1
        return True


class Nursery:
    """The process whose forks are zygotes; started with the first of them.

    Args:
        executable: the interpreter; without it our own, without installed packages.
        limits: bounds of its scripts.
    """

    def __init__(self, *, executable: str | None, limits: InterpreterLimits) -> None:
        self._executable = executable
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        self._is_ready = False

    async def ready(self) -> None:
        """Start it, and wait until it forks without delay.

        Raises:
            StartFailed: the program is not there or can't be started.
        """
        self._start_if_gone()
        if self._is_ready or self._requests is None:
            return
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        descriptor = self._requests.fileno()
        loop.add_reader(descriptor, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(descriptor)
        self._greet()

    def start_zygote(self) -> ZygoteProcess:
        """Start a zygote in a new directory.

        Raises:
            StartFailed: the program is not there or can't be started.
        """
        directory = tempfile.mkdtemp(prefix=_PREFIX)
        pairs = [os.pipe() for _ in range(5)]
        # Of the job the worker has the end to write to, of the others the end to read from.
        (theirs, ours), *outputs = pairs
        given = (theirs, *(pair[1] for pair in outputs))
        kept = (ours, *(pair[0] for pair in outputs))
        try:
            pid, handle = self._fork(directory, given)
        except StartFailed:
            for descriptor in kept:
                os.close(descriptor)
            shutil.rmtree(directory, ignore_errors=True)
            raise
        finally:
            for descriptor in given:
                os.close(descriptor)
        return ZygoteProcess(pid, handle, directory=directory, pipes=kept)

    def close(self) -> None:
        """End it with all its zygotes."""
        if self._requests is not None:
            self._requests.close()
            self._requests = None
        self._is_ready = False
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _fork(self, directory: str, pipes: tuple[int, ...]) -> tuple[int, int]:
        self._start_if_gone()
        self._greet()
        requests = self._requests
        if requests is None:
            raise StartFailed("it is closed")
        try:
            socket.send_fds(requests, [directory.encode()], pipes)
            data, handles, _, _ = socket.recv_fds(requests, PID.size, 1)
        except OSError as error:
            # A late answer would be taken for the next one.
            self.close()
            raise StartFailed(f"its parent does not answer: {error}") from error
        if not handles:
            self.close()
            raise StartFailed("it ended at its start")
        return PID.unpack(data)[0], handles[0]

    def _greet(self) -> None:
        if self._is_ready or self._requests is None:
            return
        self._requests.settimeout(_START_SECONDS)
        try:
            self._is_ready = bool(self._requests.recv(PID.size))
        except OSError:
            self._is_ready = False
        else:
            self._requests.settimeout(_FORK_SECONDS)
        if not self._is_ready:
            self.close()
            raise StartFailed("it ended at its start")

    def _start_if_gone(self) -> None:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603  the configured interpreter
                    _command(self._executable, theirs.fileno(), self._limits),
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env=_environment(f"{tempfile.gettempdir()}/{_PREFIX}{'_' * 8}"),
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                raise StartFailed(f"{error.strerror} (os error {error.errno})") from error
        self._requests = ours


def _command(executable: str | None, requests: int, limits: InterpreterLimits) -> list[str]:
    """Return the command line; `host.nursery.main` reads its arguments."""
    options = ["-I", "-X", "utf8"] if executable else ["-I", "-S", "-X", "utf8"]
    bounds = {"memory_bytes": limits.memory_bytes, "file_bytes": limits.file_bytes}
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


def _environment(directory: str) -> dict[str, str]:
    """Return the environment of scripts: enough to find programs, nothing of the worker's."""
    kept = {name: value for name in ("PATH", "TZ") if (value := os.environ.get(name))}
    return {
        "PATH": os.defpath,
        **kept,
        "HOME": directory,
        "TMPDIR": directory,
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
