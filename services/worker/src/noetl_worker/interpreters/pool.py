"""The warm interpreters of a worker."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from noetl_common.logging import get_logger

from noetl_worker.interpreters.interpreter import Interpreter, InterpreterLost, Run
from noetl_worker.interpreters.process import InterpreterLimits, StartFailed

_log = get_logger()
_GROWTH_DELAY_SECONDS = 0.02


@dataclass(slots=True, eq=False)
class _Waiter:
    """A script without an interpreter."""

    future: asyncio.Future[Interpreter]
    since: float

    @property
    def has_one(self) -> bool:
        future = self.future
        return future.done() and not future.cancelled() and future.exception() is None


class InterpreterPool:
    """Hand each script to a warm interpreter; at most ``size`` scripts at once.

    It grows by one at a time, and only when a script has waited for a while: starting an
    interpreter costs as much as dozens of short scripts. A script that finds all of them busy
    gets the first that is free, new or not.
    """

    def __init__(self, *, executable: str | None, limits: InterpreterLimits, size: int) -> None:
        self._executable = executable
        self._limits = limits
        self._size = size
        self._idle: deque[Interpreter] = deque()
        self._all: set[Interpreter] = set()
        self._alone: set[Interpreter] = set()
        self._starting: Interpreter | None = None
        self._waiting: deque[_Waiter] = deque()
        self._growth: asyncio.TimerHandle | None = None
        self._closed = False

    async def run(self, job: bytes, *, timeout: float | None, executable: str | None = None) -> Run:  # noqa: ASYNC109  only the script's own time counts
        """Run a job; with ``executable`` in an interpreter started for it alone.

        Raises:
            StartFailed: the interpreter can't be started.
            InterpreterLost: it ended under the script.
        """
        if executable is not None and executable != self._executable:
            return await self._run_alone(job, timeout=timeout, executable=executable)
        interpreter = await self._take()
        return await interpreter.run(job, timeout=timeout)

    async def warm_up(self, count: int) -> None:
        """Start some interpreters ahead of the first scripts."""
        while len(self._all) < count:
            self._grow()
            if self._starting is not None:
                try:
                    await self._starting.ready()
                except InterpreterLost as error:
                    raise StartFailed(str(error)) from error

    def script_pids(self) -> list[int]:
        """Process ids of the zygotes that run a script now."""
        return [one.pid for one in (*self._all, *self._alone) if one.is_running]

    def kill_script_of(self, pid: int) -> None:
        """End the script that runs under a zygote."""
        for one in (*self._all, *self._alone):
            if one.pid == pid:
                one.kill_script()

    def close(self) -> None:
        """End all interpreters with their scripts."""
        self._closed = True
        for interpreter in (*self._all, *self._alone):
            interpreter.end()
        for interpreter in (*self._all, *self._alone):
            interpreter.close()
        self._all.clear()
        self._idle.clear()
        if self._growth is not None:
            self._growth.cancel()
        for waiter in self._waiting:
            if not waiter.future.done():
                waiter.future.set_exception(InterpreterLost("the worker ends"))

    async def _run_alone(self, job: bytes, *, timeout: float | None, executable: str) -> Run:  # noqa: ASYNC109  as above
        interpreter = Interpreter.start(
            executable=executable, limits=self._limits, on_free=lambda _: None
        )
        self._alone.add(interpreter)
        try:
            try:
                await interpreter.ready()
            except InterpreterLost as error:
                raise StartFailed(str(error)) from error
            return await interpreter.run(job, timeout=timeout)
        finally:
            self._alone.discard(interpreter)
            interpreter.close()

    async def _take(self) -> Interpreter:
        # The last one used comes first, as its memory is in the caches most likely; but one
        # whose process has just ended is still forking the next one.
        chosen = next((one for one in reversed(self._idle) if one.has_process), None)
        if chosen is None and self._idle:
            chosen = self._idle[0]
        if chosen is not None:
            self._idle.remove(chosen)
            return chosen
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop.create_future(), loop.time())
        if not self._all:
            self._grow()
        self._waiting.append(waiter)
        self._grow_when_due()
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.has_one:
                self._freed(waiter.future.result())
            raise

    def _grow_when_due(self) -> None:
        """Start an interpreter if a script has waited for long; else look again later."""
        while self._waiting and self._waiting[0].future.done():
            self._waiting.popleft()
        if not self._waiting or self._starting is not None or len(self._all) >= self._size:
            return
        loop = asyncio.get_running_loop()
        left = self._waiting[0].since + _GROWTH_DELAY_SECONDS - loop.time()
        if left > 0 and self._all:
            if self._growth is None:
                self._growth = loop.call_later(left, self._look_again)
            return
        try:
            self._grow()
        except StartFailed as error:
            self._refuse(str(error))

    def _look_again(self) -> None:
        self._growth = None
        if not self._closed:
            self._grow_when_due()

    def _grow(self) -> None:
        """Start one more.

        Raises:
            StartFailed: that is impossible, and there is no other to wait for.
        """
        try:
            interpreter = Interpreter.start(
                executable=self._executable, limits=self._limits, on_free=self._freed
            )
        except StartFailed as error:
            if not self._all:
                raise
            _log.warning("interpreter_not_started", error=str(error))
            return
        self._all.add(interpreter)
        self._starting = interpreter

    def _freed(self, interpreter: Interpreter) -> None:
        """React to an interpreter that has started, ended its script, or died."""
        if self._closed:
            return
        is_new = interpreter is self._starting
        if is_new:
            self._starting = None
        if interpreter.is_lost:
            self._all.discard(interpreter)
            if interpreter in self._idle:
                self._idle.remove(interpreter)
            if is_new:
                # Starting more would go on for ever.
                self._refuse("it ended at its start")
                return
        elif not self._hand_over(interpreter):
            self._idle.append(interpreter)
            return
        self._grow_when_due()

    def _hand_over(self, interpreter: Interpreter) -> bool:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.future.done():
                waiter.future.set_result(interpreter)
                return True
        return False

    def _refuse(self, reason: str) -> None:
        """Fail the waiting scripts if there is no interpreter left."""
        _log.warning("interpreter_not_started", error=reason)
        if self._all:
            return
        for waiter in self._waiting:
            if not waiter.future.done():
                waiter.future.set_exception(StartFailed(reason))
        self._waiting.clear()


@asynccontextmanager
async def interpreter_pool(
    *, executable: str | None, limits: InterpreterLimits, size: int, warm: int
) -> AsyncIterator[InterpreterPool]:
    """Keep a pool with some interpreters started ahead."""
    pool = InterpreterPool(executable=executable, limits=limits, size=size)
    try:
        try:
            await pool.warm_up(min(warm, size))
        except StartFailed as error:
            # Scripts will say so; the other tools work all the same.
            _log.error("interpreter_not_started", error=str(error))
        yield pool
    finally:
        pool.close()
