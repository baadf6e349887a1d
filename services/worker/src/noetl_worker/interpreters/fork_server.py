"""A process that loads something once, and forks others on request."""

import asyncio
import errno
import os
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable
from typing import Self

from noetl_common.logging import get_logger
from noetl_common.retry import backoff

from noetl_worker.interpreters.host.wire import PID

_log = get_logger()
PATIENCE_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0
_PASSING = frozenset(
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
_PROMPT_SECONDS = 1.0
_ANSWER_SECONDS = 30.0


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
        """Return what an error of the system means."""
        text = f"{error.strerror} (os error {error.errno})"
        return cls(text, may_pass=error.errno in _PASSING)


async def started[T](start: Callable[[], Awaitable[T]]) -> T:
    """Start something, again and again while what hinders it may pass.

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


class ForkServer:
    """The first process, started with the first request, and again when it is gone.

    Args:
        command: gives its command line for the descriptor of its requests.
        environment: its whole environment.
    """

    def __init__(
        self, command: Callable[[int], list[str]], environment: Callable[[], dict[str, str]]
    ) -> None:
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        # Answers come without a name.
        self._turn = asyncio.Lock()

    async def fork(self, request: bytes, descriptors: tuple[int, ...]) -> tuple[int, int]:
        """Return number and descriptor of a new process.

        Args:
            request: tells it what it is for.
            descriptors: are copied to it.

        Raises:
            StartFailed: the program is not there or can't be started.
        """
        async with self._turn:
            answer = None
            if self._requests is not None:
                answer = await self._ask(self._requests, request, descriptors)
            if answer is None:  # the first time, or it was killed
                await self.close()
                answer = await self._ask(self._start(), request, descriptors)
            if answer is None:
                await self.close()
                raise StartFailed("it ended at its start")
            return answer

    async def close(self) -> None:
        """End it with all that it has forked."""
        if self._requests is not None:
            self._requests.close()
            self._requests = None
        process, self._process = self._process, None
        if process is not None:
            await asyncio.to_thread(_end, process)

    async def _ask(
        self, requests: socket.socket, request: bytes, descriptors: tuple[int, ...]
    ) -> tuple[int, int] | None:
        """Ask for a fork; None: it is gone or does not answer.

        Raises:
            StartFailed: there is no descriptor left for the answer.
        """
        try:
            # Else an answer without its descriptor would look as if it were gone, with all it has.
            room = os.dup(requests.fileno())
        except OSError as error:
            raise StartFailed.of(error) from error
        try:
            socket.send_fds(requests, [request], descriptors)
            if not await is_readable(requests.fileno(), seconds=_PROMPT_SECONDS):
                self._wake()
                await is_readable(requests.fileno(), seconds=_ANSWER_SECONDS)
            os.close(room)
            room = -1
            data, handles, _, _ = socket.recv_fds(requests, PID.size, 1)
        except asyncio.CancelledError:
            # The late answer would be taken for the next one.
            await self.close()
            raise
        except OSError:
            return None
        finally:
            if room >= 0:
                os.close(room)
        return (PID.unpack(data)[0], handles[0]) if handles else None

    def _wake(self) -> None:
        """Let it go on: a script may have stopped it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def _start(self) -> socket.socket:
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise StartFailed.of(error) from error
        with theirs:
            try:
                # By the thread of the loop: its end is the signal for the process to end.
                self._process = subprocess.Popen(  # noqa: S603  the configured interpreter
                    self._command(theirs.fileno()),
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env=self._environment(),
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                raise StartFailed.of(error) from error
        ours.setblocking(False)
        self._requests = ours
        return ours


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_PROMPT_SECONDS)  # it ends with the socket, and leaves no zombies
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def is_readable(descriptor: int, *, seconds: float) -> bool:
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
