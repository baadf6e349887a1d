"""The warm interpreters of a worker."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from noetl_common.logging import get_logger

from noetl_worker import metrics
from noetl_worker.hosting.fork_server import (
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    PATIENCE_SECONDS,
    StartFailed,
    started,
)
from noetl_worker.interpreters.interpreter import Interpreter
from noetl_worker.interpreters.nursery import InterpreterLimits, make_nursery
from noetl_worker.interpreters.run import InterpreterLost, Listener, Run

_log = get_logger()
_GROWTH_DELAY_SECONDS = 0.02
# An execution that paused for so long has probably ended. A busy worker sees its executions seldom.
_LIKELY_OVER_SECONDS = 1.0
_STARTS_AT_ONCE = 4
# Processes that wait for the next executions: while a script runs, the one before is ended and
# its successor forked, which takes longer than most scripts.
_SPARES = 3
# An end holds up the loop for a moment.
_ENDS_AT_ONCE = 8
_ENDS_PAUSE_SECONDS = 0.02
# Scripts of the same execution go first for so long: theirs is the process.
_TURN_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Keeping:
    """Bounds of processes that wait for the next script of their execution."""

    most: int
    """0: each script has a process of its own."""
    seconds: float


@dataclass(slots=True, eq=False)
class _Waiter:
    """A script without an interpreter."""

    future: asyncio.Future[Interpreter]
    since: float
    execution: int | None

    @property
    def has_one(self) -> bool:
        future = self.future
        return future.done() and not future.cancelled() and future.exception() is None


class InterpreterPool:
    """Hand each script to a warm interpreter; at most ``size`` scripts at once.

    It grows by one at a time, when a script has waited for a while, or when all that are idle keep
    processes of executions that seem to go on: to end such a process costs a fork now and another
    one at its execution's next script. A script that finds all of them busy gets the first that is
    free, new or not.

    The process of a script that left no trace is kept for the next script of the same execution,
    never for another one. It ends when it has waited for too long, or when a script of another
    execution needs its place; the least recently used ends first. With one that has waited for
    too long its interpreter ends, if enough are left for the next executions.
    """

    def __init__(
        self,
        *,
        executable: str | None,
        limits: InterpreterLimits,
        size: int,
        keeping: Keeping,
        libraries: str | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._executable = executable
        self._limits = limits
        self._size = size
        self._nursery = make_nursery(executable=executable, limits=limits, libraries=libraries)
        self._keeping = keeping
        self._start_seconds = patience_seconds
        # The least recently used first.
        self._idle: deque[Interpreter] = deque()
        self._idle_end: asyncio.TimerHandle | None = None
        self._all: set[Interpreter] = set()
        self._alone: set[Interpreter] = set()
        self._ending: set[Interpreter] = set()
        # Their process is being ended, so that they are free for another execution.
        self._emptied: set[Interpreter] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self._waiting: deque[_Waiter] = deque()
        self._growth: asyncio.TimerHandle | None = None
        self._closed = False
        self._pause = FIRST_PAUSE_SECONDS
        self._unable_until = 0.0
        self._least = _SPARES

    async def run(
        self,
        job: bytes,
        *,
        timeout: float | None,  # noqa: ASYNC109  only the script's own time counts
        executable: str | None = None,
        execution: int | None = None,
        listener: Listener | None = None,
    ) -> Run:
        """Run a job.

        Args:
            job: the script.
            timeout: seconds until it is killed.
            executable: run it in an interpreter started for it alone.
            execution: its process may be kept for, or come from, this execution.
            listener: gets what it prints as it comes.

        Raises:
            StartFailed: the interpreter can't be started.
            InterpreterLost: it ended under the script.
        """
        if executable is not None and executable != self._executable:
            return await self._run_alone(
                job, timeout=timeout, executable=executable, listener=listener
            )
        if not self._keeping.most:
            execution = None
        interpreter = await self._take(execution)
        return await interpreter.run(job, timeout=timeout, execution=execution, listener=listener)

    @property
    def is_able(self) -> bool:
        """Whether scripts can be begun, as far as is known: not for a while after a failure."""
        return asyncio.get_running_loop().time() >= self._unable_until

    async def is_ready(self) -> bool:
        """Return the same, for the readiness of the process."""
        return self.is_able

    async def warm_up(self, count: int) -> None:
        """Start some interpreters ahead of the first scripts; so many stay."""
        self._least = max(self._least, count)
        while len(self._all) < count and not self._closed:
            await self._start_one()

    def script_pids(self) -> list[int]:
        """Process ids of the zygotes that run a script now."""
        return [one.pid for one in (*self._all, *self._alone) if one.is_running]

    def script_directories(self) -> dict[int, str]:
        """Directories of the scripts that run now, by process id of their zygote."""
        return {one.pid: one.directory for one in (*self._all, *self._alone) if one.is_running}

    def kill_script_of(self, pid: int, *, reason: str | None = None) -> None:
        """End the script that runs under a zygote; the outcome of its run has the reason."""
        for one in (*self._all, *self._alone):
            if one.pid == pid:
                one.kill_script(reason=reason)

    async def close(self) -> None:
        """End all interpreters with their scripts."""
        self._closed = True
        starting = list(self._starting)
        for task in starting:
            task.cancel()
        await asyncio.gather(*starting, return_exceptions=True)
        for timer in (self._growth, self._idle_end):
            if timer is not None:
                timer.cancel()
        for waiter in self._waiting:
            if not waiter.future.done():
                waiter.future.set_exception(InterpreterLost("the worker ends"))
        everyone = self._all | self._alone | self._ending
        self._all.clear()
        self._idle.clear()
        await asyncio.gather(*(one.close() for one in everyone))
        await self._nursery.close()

    async def _run_alone(
        self,
        job: bytes,
        *,
        timeout: float | None,  # noqa: ASYNC109  as above
        executable: str,
        listener: Listener | None,
    ) -> Run:
        nursery = make_nursery(executable=executable, limits=self._limits, forks_often=False)
        try:
            interpreter = await started(
                lambda: Interpreter.start(
                    nursery=nursery, limits=self._limits, on_free=lambda _: None
                )
            )
            self._alone.add(interpreter)
            try:
                return await interpreter.run(job, timeout=timeout, listener=listener)
            finally:
                self._alone.discard(interpreter)
                await interpreter.close()
        finally:
            await nursery.close()

    async def _take(self, execution: int | None) -> Interpreter:
        if self._closed:
            raise InterpreterLost("the worker ends")
        chosen = self._choose(execution)
        if chosen is not None:
            self._idle.remove(chosen)
            if chosen.kept_for is None:
                self._prepare_next()
            return chosen
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop.create_future(), loop.time(), execution)
        self._waiting.append(waiter)
        if self._idle:
            self._make_room()
        self._grow_when_due()
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.has_one:
                self._freed(waiter.future.result())
            raise

    def _choose(self, execution: int | None) -> Interpreter | None:
        # The last one used comes first, as its memory is in the caches most likely; but one
        # whose process has just ended is still forking the next one.
        unused: Interpreter | None = None
        for one in reversed(self._idle):
            if one.kept_for is None:
                if unused is None or not unused.has_process:
                    unused = one
            elif one.kept_for == execution:
                return one
        return unused

    def _prepare_next(self) -> None:
        """Make room for the next executions when few unused processes are left."""
        coming = len(self._emptied) + len(self._starting)
        unused = sum(one.kept_for is None for one in self._idle)
        if unused + coming < _SPARES and len(self._idle) > unused:
            self._make_room()

    def _make_room(self) -> None:
        """Take the place of an execution that is over most likely, else start one more."""
        oldest = self._oldest_kept()
        if oldest is None:
            return
        is_over = oldest.kept_since + _LIKELY_OVER_SECONDS < asyncio.get_running_loop().time()
        if is_over or not self._has_room():
            self._retire(oldest)
        elif len(self._starting) < max(len(self._waiting), _SPARES):
            self._grow()

    def _oldest_kept(self) -> Interpreter | None:
        return next((one for one in self._idle if one.kept_for is not None), None)

    def _retire(self, kept: Interpreter) -> None:
        self._idle.remove(kept)
        self._emptied.add(kept)
        kept.retire()

    def _end_idle(self) -> None:
        """End the processes that have waited for too long; look again later."""
        self._idle_end = None
        due = asyncio.get_running_loop().time() - self._keeping.seconds
        kept = [one for one in self._idle if one.kept_for is not None]
        left = len(self._idle) - len(kept) + len(self._emptied) + len(self._starting)
        for one in [one for one in kept if one.kept_since <= due][:_ENDS_AT_ONCE]:
            if left < self._least:
                self._retire(one)
                left += 1
            else:
                one.end()
        self._watch_idle()

    def _watch_idle(self) -> None:
        if self._idle_end is not None or self._closed:
            return
        kept = [one.kept_since for one in self._idle if one.kept_for is not None]
        if kept:
            loop = asyncio.get_running_loop()
            due = max(min(kept) + self._keeping.seconds, loop.time() + _ENDS_PAUSE_SECONDS)
            self._idle_end = loop.call_at(due, self._end_idle)

    def _grow_when_due(self) -> None:
        """Start an interpreter if a script has waited for long; else look again later."""
        while self._waiting and self._waiting[0].future.done():
            self._waiting.popleft()
        if not self._waiting or self._starting or not self._has_room():
            return
        loop = asyncio.get_running_loop()
        left = self._waiting[0].since + _GROWTH_DELAY_SECONDS - loop.time()
        if left > 0 and self._all:
            if self._growth is None:
                self._growth = loop.call_later(left, self._look_again)
            return
        self._grow()

    def _look_again(self) -> None:
        self._growth = None
        if not self._closed:
            self._grow_when_due()

    def _has_room(self) -> bool:
        return len(self._all) + len(self._starting) < self._size

    def _grow(self) -> None:
        """Begin to start one more, if not too many start already."""
        if len(self._starting) < _STARTS_AT_ONCE:
            task = asyncio.get_running_loop().create_task(self._start_for_waiting())
            self._starting.add(task)

    async def _start_for_waiting(self) -> None:
        own = asyncio.current_task()
        try:
            await self._start_one()
        except (StartFailed, OSError) as error:
            self._starting = {task for task in self._starting if task is not own}
            failure = StartFailed.of(error) if isinstance(error, OSError) else error
            self._put_off(failure)
            return
        self._starting = {task for task in self._starting if task is not own}
        if not self._closed:
            self._grow_when_due()

    async def _start_one(self) -> None:
        interpreter = await Interpreter.start(
            nursery=self._nursery, limits=self._limits, on_free=self._freed
        )
        self._all.add(interpreter)
        self._pause, self._unable_until = FIRST_PAUSE_SECONDS, 0.0
        self._freed(interpreter)

    def _freed(self, interpreter: Interpreter) -> None:
        """React to an interpreter that has started, ended its script, or died."""
        self._emptied.discard(interpreter)
        if interpreter.is_lost:
            self._forget(interpreter)
        elif not self._closed and not self._pass_on(interpreter):
            self._idle.append(interpreter)
            if interpreter.kept_for is not None:
                self._bound_kept()
            return
        if not self._closed:
            self._grow_when_due()

    def _forget(self, lost: Interpreter) -> None:
        self._all.discard(lost)
        if lost in self._idle:
            self._idle.remove(lost)
        self._ending = {one for one in self._ending if one.is_ending}
        self._ending.add(lost)

    def _bound_kept(self) -> None:
        kept = [one for one in self._idle if one.kept_for is not None]
        if len(kept) > self._keeping.most:
            self._retire(kept[0])
        self._watch_idle()

    def _pass_on(self, interpreter: Interpreter) -> bool:
        """Give an interpreter to a waiting script; False if there is none."""
        waiter = self._next_waiter(interpreter.kept_for)
        if waiter is None:
            return False
        if interpreter.kept_for is not None and waiter.execution != interpreter.kept_for:
            self._emptied.add(interpreter)
            interpreter.retire()  # it comes back without a process
            return True
        self._waiting.remove(waiter)
        waiter.future.set_result(interpreter)
        return True

    def _next_waiter(self, kept_for: int | None) -> _Waiter | None:
        while self._waiting and self._waiting[0].future.done():
            self._waiting.popleft()
        if not self._waiting:
            return None
        first = self._waiting[0]
        now = asyncio.get_running_loop().time()
        if kept_for is None or first.since + _TURN_SECONDS < now:
            return first
        same = (one for one in self._waiting if one.execution == kept_for and not one.future.done())
        # The first gets an interpreter of its own soon, if one may start.
        return next(same, None if self._starting else first)

    def _put_off(self, failure: StartFailed) -> None:
        """Let the waiting scripts wait for the next try; without interpreters not for ever."""
        loop = asyncio.get_running_loop()
        _log.warning("interpreter_not_started", error=str(failure))
        metrics.START_FAILURES.inc()
        if failure.may_pass:
            self._unable_until = loop.time() + 2 * self._pause
        if self._all:
            kept = self._oldest_kept() if self._waiting else None
            if kept is not None:
                self._retire(kept)
        else:
            self._refuse(failure, before=loop.time() - self._start_seconds)
        if self._waiting and self._growth is None and not self._closed:
            self._growth = loop.call_later(self._pause, self._look_again)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def _refuse(self, failure: StartFailed, *, before: float) -> None:
        """Fail the scripts that wait since before a time, or all if it won't be otherwise."""
        left: deque[_Waiter] = deque()
        for waiter in self._waiting:
            if waiter.future.done():
                continue
            if failure.may_pass and waiter.since > before:
                left.append(waiter)
            else:
                waiter.future.set_exception(failure)
        self._waiting = left


@asynccontextmanager
async def interpreter_pool(
    *,
    executable: str | None,
    limits: InterpreterLimits,
    size: int,
    warm: int,
    keeping: Keeping,
    patience_seconds: float = PATIENCE_SECONDS,
) -> AsyncIterator[InterpreterPool]:
    """Keep a pool with some interpreters started ahead."""
    pool = InterpreterPool(
        executable=executable,
        limits=limits,
        size=size,
        keeping=keeping,
        patience_seconds=patience_seconds,
    )
    try:
        try:
            await pool.warm_up(min(warm, size))
        except (StartFailed, OSError) as error:
            # Scripts will say so; the other tools work all the same.
            _log.error("interpreter_not_started", error=str(error))
        yield pool
    finally:
        await pool.close()
