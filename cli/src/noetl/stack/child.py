"""One supervised process: started, watched, started again when it dies, stopped in good order."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from noetl.stack.process import birth, send


class ChildState(StrEnum):
    """State of a process in its life."""

    STARTING = "starting"
    READY = "ready"
    NOT_READY = "not ready"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"


async def _always(_: int) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Ailment:
    """Trouble of a process that answers, and whether a new start helps."""

    text: str
    restart_helps: bool


async def _well(_: int) -> Ailment | None:
    return None


@dataclass(frozen=True, kw_only=True)
class ChildSpec:
    """Command line, environment and checks of one process.

    Attributes:
        name: unique in the stack, also the name of its log file.
        command: the command line.
        log: file its output is appended to.
        port: where it listens.
        environment: its environment; None for ours.
        prepare: blocking work before each start, done in a thread.
        is_ready: whether the process with this pid is itself and does its work.
        is_alive: whether it makes progress; one that doesn't for long is killed.
        ailment: its trouble although it answers; it is started again where that helps.
        stop_signal: asks it to drain.
        stop_grace_seconds: how long that may take.
        start_patience_seconds: how long it may take to become ready once.
    """

    name: str
    command: Callable[[], list[str]]
    log: Path
    port: int
    environment: Mapping[str, str] | None = None
    prepare: Callable[[], None] = lambda: None
    is_ready: Callable[[int], Awaitable[bool]]
    is_alive: Callable[[int], Awaitable[bool]] = _always
    ailment: Callable[[int], Awaitable[Ailment | None]] = _well
    stop_signal: signal.Signals = signal.SIGTERM
    stop_grace_seconds: float = 20.0
    start_patience_seconds: float = 120.0


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Intervals and timeouts of the supervision of a process."""

    first_backoff_seconds: float = 0.05
    longest_backoff_seconds: float = 5.0
    longest_backoff_once_ready_seconds: float = 0.4
    healthy_after_seconds: float = 2.0
    start_poll_seconds: float = 0.05
    watch_poll_seconds: float = 1.0
    hang_patience_seconds: float = 45.0
    examine_seconds: float = 5.0


@dataclass
class Child:
    """A process that `run` keeps alive until `stop`."""

    spec: ChildSpec
    changed: Callable[["Child"], None]
    pace: Pace = field(default_factory=Pace)
    state: ChildState = ChildState.STARTING
    pid: int | None = None
    birth: str | None = None
    restarts: int = 0
    trouble: str | None = None
    was_ready: bool = False

    def __post_init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Keep the process running until `stop`; the process has ended when this returns or raises.

        Has to run in the main thread: the kernel ends children with the thread that made them.
        """
        backoff = self.pace.first_backoff_seconds
        try:
            while not self._stopping.is_set():
                started = time.monotonic()
                was_ready = await self._run_once()
                if self._stopping.is_set():
                    break
                if was_ready:
                    # One that works once it runs is missed; one that never ran can wait.
                    has_settled = time.monotonic() - started > self.pace.healthy_after_seconds
                    backoff = (
                        self.pace.first_backoff_seconds
                        if has_settled
                        else min(backoff, self.pace.longest_backoff_once_ready_seconds)
                    )
                self.restarts += 1
                self._enter(ChildState.RESTARTING)
                await self._pause(backoff)
                backoff = min(backoff * 2, self.pace.longest_backoff_seconds)
        finally:
            if self._process is not None and self._process.returncode is None:
                self._kill()
            self.pid = None
            self._enter(ChildState.STOPPED)
            self._ended.set()

    async def stop(self) -> None:
        """Asks the process to drain, waits for it, kills it when the grace is over."""
        self._stopping.set()
        self._enter(ChildState.STOPPING)
        if self.pid is not None:
            send(self.pid, self.spec.stop_signal)
        try:
            async with asyncio.timeout(self.spec.stop_grace_seconds):
                await self._ended.wait()
        except TimeoutError:
            self._kill()
            await self._ended.wait()

    def kill(self) -> None:
        """Kill the process and don't start it again."""
        self._stopping.set()
        self._kill()

    async def _run_once(self) -> bool:
        """One life of the process; whether it was ready in it."""
        self._enter(ChildState.STARTING)
        try:
            await asyncio.to_thread(self.spec.prepare)
            if self._stopping.is_set():
                return False
            process = await self._spawn()
        except (OSError, RuntimeError) as error:
            # A start that fails is an outage like any other: said, and tried again.
            self.trouble = str(error)
            return False
        watch = asyncio.create_task(self._watch(process.pid))
        try:
            code = await process.wait()
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
        self._sweep(process.pid)
        self.pid = self.birth = None
        self.trouble = f"ended with code {code}" if code >= 0 else f"killed by signal {-code}"
        return self.state in {ChildState.READY, ChildState.NOT_READY}

    async def _spawn(self) -> asyncio.subprocess.Process:
        with self.spec.log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *self.spec.command(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.spec.environment,
                # Away from the terminal's Ctrl-C: who drains when is our decision.
                start_new_session=True,
            )
        self._process = process
        self.pid, self.birth = process.pid, birth(process.pid)
        self.changed(self)
        if self._stopping.is_set():
            send(process.pid, self.spec.stop_signal)
        return process

    async def _watch(self, pid: int) -> None:
        """Follows readiness and liveness until cancelled; kills a process that hangs."""
        await self._wait_ready(pid)
        last_sign_of_life = examined = time.monotonic()
        ailment: Ailment | None = None
        while True:
            await asyncio.sleep(self.pace.watch_poll_seconds)
            ready, alive = await self.spec.is_ready(pid), await self.spec.is_alive(pid)
            now = time.monotonic()
            if alive:
                last_sign_of_life = now
            if now - last_sign_of_life > self.pace.hang_patience_seconds:
                self._kill()
                return
            if alive and now - examined > self.pace.examine_seconds:
                ailment, examined = await self.spec.ailment(pid), time.monotonic()
            if self._stopping.is_set():
                continue
            if ailment is not None:
                self._suffer(ailment)
            self._enter(ChildState.READY if ready and ailment is None else ChildState.NOT_READY)
            if ailment is not None and ailment.restart_helps:
                await self._end(pid)
                return

    def _suffer(self, ailment: Ailment) -> None:
        """Report a trouble, once."""
        if self.trouble != ailment.text:
            self.trouble = ailment.text
            self.changed(self)

    async def _end(self, pid: int) -> None:
        """End the process in good order, so that it is started again."""
        send(pid, self.spec.stop_signal)
        await asyncio.sleep(self.spec.stop_grace_seconds)
        self._kill()

    async def _wait_ready(self, pid: int) -> None:
        deadline = time.monotonic() + self.spec.start_patience_seconds
        while not await self.spec.is_ready(pid):
            if time.monotonic() > deadline and not await self.spec.is_alive(pid):
                self._kill()
                return
            await asyncio.sleep(self.pace.start_poll_seconds)
        if not self._stopping.is_set():
            self._enter(ChildState.READY)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def _kill(self) -> None:
        if self.pid is not None:
            send(self.pid, signal.SIGKILL)

    def _sweep(self, pid: int) -> None:
        # What the process started itself and left behind would go on working for nobody.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)

    def _enter(self, state: ChildState) -> None:
        if state is ChildState.READY:
            self.trouble, self.was_ready = None, True
        if state is not self.state:
            self.state = state
            self.changed(self)
