"""The processes of warm interpreters, with their pipes."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import orjson
from noetl_common.logging import get_logger

from noetl_worker.interpreters.host.wire import PID

_log = get_logger()
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv.pop()); "
    "from host.nursery import main; del sys.path[0]; main()"
)
_PREFIX = "noetl-python-"
_PROMPT_SECONDS = 1.0
_ANSWER_SECONDS = 30.0
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
    box: "ScriptBox | None" = None
    """None: they may reach what the worker's user may."""


@dataclass(frozen=True, slots=True)
class ScriptBox:
    """What scripts may reach beside the system, their interpreter and their own directory."""

    read: tuple[str, ...] = ()
    """Paths to read."""
    write: tuple[str, ...] = ()
    """Paths to read and change."""
    ports: tuple[int, ...] | None = None
    """TCP ports to connect to and to listen at; None: all."""

    def parent_directory(self) -> str:
        """Return where directories of scripts are made: outside of what all may change."""
        given = tempfile.gettempdir()
        for path in (given, "/var/tmp", "/dev/shm"):  # noqa: S108  new directories of our own
            place = Path(path).resolve()
            if os.access(path, os.W_OK | os.X_OK) and not any(
                place.is_relative_to(Path(shared).resolve()) for shared in self.write
            ):
                return path
        _log.warning("script_directories_shared", path=given)
        return given


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
        if not await _is_readable(self._handle, seconds=seconds):
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
    """

    def __init__(self, *, executable: str | None, limits: InterpreterLimits) -> None:
        self._executable = executable
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        # Answers come without a name.
        self._turn = asyncio.Lock()

    @cached_property
    def _parent(self) -> str:
        box = self._limits.box
        return tempfile.gettempdir() if box is None else box.parent_directory()

    async def start_zygote(self) -> ZygoteProcess:
        """Start a zygote in a new directory.

        Raises:
            StartFailed: the program is not there or can't be started.
        """
        directory = tempfile.mkdtemp(prefix=_PREFIX, dir=self._parent)
        pairs = [os.pipe() for _ in range(5)]
        # Of the job the worker has the end to write to, of the others the end to read from.
        (theirs, ours), *outputs = pairs
        given = (theirs, *(pair[1] for pair in outputs))
        kept = (ours, *(pair[0] for pair in outputs))
        try:
            async with self._turn:
                pid, handle = await self._fork(directory, given)
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
        if self._requests is not None:
            self._requests.close()
            self._requests = None
        process, self._process = self._process, None
        if process is not None:
            await asyncio.to_thread(_end, process)

    async def _fork(self, directory: str, pipes: tuple[int, ...]) -> tuple[int, int]:
        answer = None
        if self._requests is not None:
            answer = await self._ask(self._requests, directory, pipes)
        if answer is None:  # the first time, or it was killed
            await self.close()
            answer = await self._ask(self._start(), directory, pipes)
        if answer is None:
            await self.close()
            raise StartFailed("it ended at its start")
        return answer

    async def _ask(
        self, requests: socket.socket, directory: str, pipes: tuple[int, ...]
    ) -> tuple[int, int] | None:
        """Ask for a fork; None: it is gone or does not answer."""
        try:
            socket.send_fds(requests, [directory.encode()], pipes)
            if not await _is_readable(requests.fileno(), seconds=_PROMPT_SECONDS):
                self._wake()
                await _is_readable(requests.fileno(), seconds=_ANSWER_SECONDS)
            data, handles, _, _ = socket.recv_fds(requests, PID.size, 1)
        except asyncio.CancelledError:
            # The late answer would be taken for the next one.
            await self.close()
            raise
        except OSError:
            return None
        return (PID.unpack(data)[0], handles[0]) if handles else None

    def _wake(self) -> None:
        """Let it go on: a script may have stopped it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                # By the thread of the loop: its end is the signal for the process to end.
                self._process = subprocess.Popen(  # noqa: S603  the configured interpreter
                    _command(self._executable, theirs.fileno(), self._limits),
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env=_environment(f"{self._parent}/{_PREFIX}{'_' * 8}"),
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                raise StartFailed(f"{error.strerror} (os error {error.errno})") from error
        ours.setblocking(False)
        self._requests = ours
        return ours


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_PROMPT_SECONDS)  # it ends with the socket, and leaves no zombies
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def _is_readable(descriptor: int, *, seconds: float) -> bool:
    """Wait for a descriptor without holding up the loop; False if that takes too long."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        async with asyncio.timeout(seconds):
            await readable.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
    return True


def _command(executable: str | None, requests: int, limits: InterpreterLimits) -> list[str]:
    """Return the command line; `host.nursery.main` reads its arguments."""
    options = ["-I", "-X", "utf8"] if executable else ["-I", "-S", "-X", "utf8"]
    box = limits.box
    bounds = {
        "memory_bytes": limits.memory_bytes,
        "file_bytes": limits.file_bytes,
        "box": None if box is None else asdict(box),
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
