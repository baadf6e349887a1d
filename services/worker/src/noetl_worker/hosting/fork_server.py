"""A process that loads something once, and forks others on request."""

import asyncio
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Self

import orjson
from noetl_common.logging import get_logger
from noetl_common.retry import backoff
from noetl_contract.json import JsonObject

from noetl_worker.hosting.host.limits import adopt_orphans
from noetl_worker.hosting.host.wire import NOT_TOLD, PID, STRAYS, TOLD
from noetl_worker.hosting.orphans import end_orphans, fork_servers
from noetl_worker.hosting.process import HostedProcess, is_readable

_log = get_logger()
PATIENCE_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0
PASSING = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EAGAIN,
        errno.EINTR,
        errno.ENOSPC,
        errno.EDQUOT,
    }
)
"""Errors of the system that may pass in a moment, and that another machine may not have."""
_BOOT = """
import sys, types
ours = sys.modules["noetl_worker"] = types.ModuleType("noetl_worker")
ours.__path__ = [sys.argv.pop()]
from noetl_worker.hosting.host.server import main
main()
"""
"""Finds the modules below this package, and nothing beside it, in any interpreter."""
_PLACE = str(Path(__file__).parents[1])
_PROMPT_SECONDS = 1.0
_ANSWER_SECONDS = 30.0
_END_SECONDS = 5.0


class StartFailed(Exception):
    """The process could not be started, so nothing has begun.

    Attributes:
        may_pass: it may be otherwise in a moment, or elsewhere: what the machine lacks, or what
            somebody has killed.
    """

    def __init__(self, reason: str, *, may_pass: bool = True) -> None:
        super().__init__(reason)
        self.may_pass = may_pass

    @classmethod
    def of(cls, error: OSError) -> Self:
        """Return the failure that an error of the system means."""
        text = f"{error.strerror} (os error {error.errno})"
        return cls(text, may_pass=error.errno in PASSING)


async def started[T](start: Callable[[], Awaitable[T]]) -> T:
    """Start something, again and again while its hindrance may pass.

    Raises:
        StartFailed: it can't be started, or could not for a minute.
    """
    failure = StartFailed("it was not tried")
    async for _ in backoff(
        first_seconds=FIRST_PAUSE_SECONDS,
        longest_seconds=LONGEST_PAUSE_SECONDS,
        total_seconds=PATIENCE_SECONDS,
    ):
        try:
            return await start()
        except OSError as error:
            failure = StartFailed.of(error)
        except StartFailed as error:
            failure = error
        if not failure.may_pass:
            break
        _log.warning("start_failed", error=str(failure))
    raise failure


class Ends:
    """Descriptors of a process that is to start: its own, and the worker's ends of them.

    Attributes:
        given: its own, in the order of their making.
    """

    def __init__(self, *, theirs: ExitStack, ours: ExitStack) -> None:
        self._theirs = theirs
        self._ours = ours
        self.given: list[int] = []
        self.told: int | None = None

    def to_read(self) -> int:
        """Return a descriptor of the worker, at which it reads the process's writes."""
        return self._pipe(0)

    def to_write(self) -> int:
        """Return a descriptor of the worker, at which it writes for the process to read."""
        return self._pipe(1)

    def socket(self, kind: socket.SocketKind) -> socket.socket:
        """Return a socket that is connected with the process's."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        self._ours.callback(ours.close)
        self._theirs.callback(theirs.close)
        self.given.append(theirs.fileno())
        return ours

    def directory(self, prefix: str, place: str | Path) -> str:
        """Return a new directory, which is removed if the process can't be started.

        Args:
            prefix: of its name.
            place: where it is made; empty: where the system has temporary files.
        """
        made = tempfile.mkdtemp(prefix=prefix, dir=place or None)
        self._ours.callback(shutil.rmtree, made, ignore_errors=True)
        return made

    def tell_end(self) -> None:
        """Have the end of the process reported over a pipe of its own: comes last."""
        self.told = self.to_read()

    def _pipe(self, ours: int) -> int:
        ends = os.pipe()
        self._ours.callback(os.close, ends[ours])
        self._theirs.callback(os.close, ends[1 - ours])
        self.given.append(ends[1 - ours])
        return ends[ours]


@contextmanager
def both_ends() -> Iterator[Ends]:
    """Make descriptors for the start of a process in the block; all are closed if it fails.

    Raises:
        StartFailed: there are none left, or another thing of the system's.
    """
    with ExitStack() as ours:
        try:
            with ExitStack() as theirs:
                yield Ends(theirs=theirs, ours=ours)
        except OSError as error:
            raise StartFailed.of(error) from error
        ours.pop_all()


class ForkServer:
    """The first process, started with the first request, and again when it is gone.

    Args:
        program: the module that it loads, with a function `load` that gets `given` and returns
            what a fork does with its request, its descriptors and the number of its parent.
        given: what the program is made for.
        environment: its whole environment.
        executable: the interpreter that runs it.
        options: of the interpreter.
    """

    def __init__(
        self,
        program: str,
        given: JsonObject,
        *,
        environment: Mapping[str, str],
        executable: str = sys.executable,
        options: Sequence[str] = ("-I",),
    ) -> None:
        self._command = (executable, *options, "-c", _BOOT)
        self._arguments = (program, orjson.dumps(given).decode(), _PLACE)
        self._environment = environment
        self._process: HostedProcess | None = None
        self._cleaning: asyncio.Task[None] | None = None
        self._requests: socket.socket | None = None
        # Answers come without a name, so they come in turn.
        self._turn = asyncio.Lock()
        self._due = 0

    async def fork(self, request: bytes, ends: Ends) -> HostedProcess:
        """Return a new process.

        Args:
            request: the task of the process.
            ends: what it is given.

        Raises:
            StartFailed: the program is not there or can't be started.
        """
        request = (NOT_TOLD if ends.told is None else TOLD) + request
        async with self._turn:
            answer = None
            if self._requests is not None:
                answer = await self._ask(self._requests, request, ends.given)
            if answer is None:  # the first time, or it was killed
                await self.close()
                answer = await self._ask(self._start(), request, ends.given)
            if answer is None:
                await self.close()
                raise StartFailed("it ended at its start")
        number, handle = answer
        if handle is None:
            # Without room for its descriptor here a process ends with our ends of its others.
            code = -number if number < 0 else errno.EMFILE
            raise StartFailed.of(OSError(code, os.strerror(code)))
        return HostedProcess(number, handle, told=ends.told)

    async def end_strays(self) -> None:
        """End leftovers of processes that could not end them themselves."""
        async with self._turn:
            if self._requests is not None and await self._ask(self._requests, STRAYS, []) is None:
                await self.close()

    async def close(self) -> None:
        """End it with all that it has forked."""
        if self._requests is not None:
            self._requests.close()
            self._requests = None
        process, self._process = self._process, None
        if process is not None:
            try:
                # It ends with the socket, and leaves no zombies.
                is_over = await process.wait(seconds=_PROMPT_SECONDS)
            except BaseException:
                process.kill()  # nobody knows of it any more
                raise
            if not is_over:
                process.kill()
                await process.wait(seconds=_END_SECONDS)
        if self._cleaning is not None:
            await asyncio.shield(self._cleaning)

    async def _ask(
        self, requests: socket.socket, request: bytes, descriptors: list[int]
    ) -> tuple[int, int | None] | None:
        """Return number and descriptor of the answer; None: it is gone or does not answer."""
        try:
            socket.send_fds(requests, [request], descriptors)
            self._due += 1
            while True:
                if not await is_readable(requests.fileno(), seconds=_PROMPT_SECONDS):
                    self._wake()
                    await is_readable(requests.fileno(), seconds=_ANSWER_SECONDS)
                data, handles, _, _ = socket.recv_fds(requests, PID.size, 1)
                if not data:
                    return None
                self._due -= 1
                handle = handles[0] if handles else None
                if not self._due:
                    return PID.unpack(data)[0], handle
                # Who asked was cancelled; the process ends with our ends of its descriptors.
                if handle is not None:
                    os.close(handle)
        except OSError:
            return None

    def _wake(self) -> None:
        """Let it go on: a script may have stopped it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def _start(self) -> socket.socket:
        # What it leaves behind if it is killed is to come to us.
        adopt_orphans()
        try:
            # Messages: one that nobody waits for any more must not run into the next.
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            raise StartFailed.of(error) from error
        with theirs:
            try:
                # By the thread of the loop: its end is the signal for the process to end.
                child = subprocess.Popen(  # noqa: S603  the configured interpreter
                    (*self._command, str(theirs.fileno()), str(os.getpid()), *self._arguments),
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env=self._environment,
                    start_new_session=True,
                )
                self._process = _watched(child)
            except OSError as error:
                ours.close()
                raise StartFailed.of(error) from error
        fork_servers.add(child.pid)
        self._process.on_end = partial(self._on_end, child)
        ours.setblocking(False)
        self._requests, self._due = ours, 0
        return ours

    def _on_end(self, child: subprocess.Popen[bytes]) -> None:
        child.wait()  # it has ended
        fork_servers.discard(child.pid)
        self._cleaning = asyncio.get_running_loop().create_task(end_orphans())


def _watched(child: subprocess.Popen[bytes]) -> HostedProcess:
    try:
        return HostedProcess(child.pid, os.pidfd_open(child.pid))
    except OSError:
        child.kill()
        child.wait()
        raise
