"""The warm interpreters of a worker."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from noetl_worker.interpreters.interpreter import (
    Interpreter,
    InterpreterLimits,
    InterpreterLost,
    Run,
)

__all__ = ["InterpreterPool", "interpreter_pool"]


class InterpreterPool:
    """Hands each script to a warm interpreter; never more than ``size`` at once."""

    def __init__(self, *, executable: str | None, limits: InterpreterLimits, size: int) -> None:
        self._executable = executable
        self._limits = limits
        self._permits = asyncio.Semaphore(size)
        self._warm: deque[Interpreter] = deque()
        self._all: set[Interpreter] = set()

    async def run(self, job: bytes, *, timeout: float | None, executable: str | None = None) -> Run:  # noqa: ASYNC109
        """Run a job; with ``executable`` in an interpreter started for it alone.

        Raises:
            StartFailed: the interpreter can't be started.
            InterpreterLost: it ended under the script.
        """
        if executable is not None and executable != self._executable:
            return await self._run_alone(job, timeout=timeout, executable=executable)
        async with self._permits:
            interpreter = self._take()
            try:
                return await interpreter.run(job, timeout=timeout)
            finally:
                self._give_back(interpreter)

    async def warm_up(self, count: int) -> None:
        """Start some interpreters ahead of the first scripts."""
        for _ in range(count):
            interpreter = self._start()
            self._warm.append(interpreter)
            await interpreter.ready()

    def script_pids(self) -> list[int]:
        """Process ids of the zygotes that run a script now."""
        return [one.pid for one in self._all if not one.is_idle and not one.is_lost]

    def kill_script_of(self, pid: int) -> None:
        """End the script that runs under a zygote."""
        for one in self._all:
            if one.pid == pid:
                one.kill_script()

    def close(self) -> None:
        """End all interpreters and what runs in them."""
        for interpreter in list(self._all):
            interpreter.close()
        self._all.clear()
        self._warm.clear()

    async def _run_alone(self, job: bytes, *, timeout: float | None, executable: str) -> Run:  # noqa: ASYNC109
        async with self._permits:
            interpreter = Interpreter.start(executable=executable, limits=self._limits)
            self._all.add(interpreter)
            try:
                await interpreter.ready()
                return await interpreter.run(job, timeout=timeout)
            finally:
                self._all.discard(interpreter)
                interpreter.close()

    def _take(self) -> Interpreter:
        for interpreter in [one for one in self._warm if one.is_lost]:
            self._warm.remove(interpreter)
            self._all.discard(interpreter)
        # The last one used comes first: its process has most likely seen the script before.
        # One whose process has just ended forks the next one meanwhile.
        chosen = next((one for one in reversed(self._warm) if one.is_waiting), None) or next(
            (one for one in self._warm if one.is_idle), None
        )
        if chosen is None:
            return self._start()
        self._warm.remove(chosen)
        return chosen

    def _start(self) -> Interpreter:
        interpreter = Interpreter.start(executable=self._executable, limits=self._limits)
        self._all.add(interpreter)
        return interpreter

    def _give_back(self, interpreter: Interpreter) -> None:
        if interpreter.is_lost:
            self._all.discard(interpreter)
        elif interpreter in self._all:
            self._warm.append(interpreter)


@asynccontextmanager
async def interpreter_pool(
    *, executable: str | None, limits: InterpreterLimits, size: int, warm: int
) -> AsyncIterator[InterpreterPool]:
    """Keep a pool with some interpreters started ahead."""
    pool = InterpreterPool(executable=executable, limits=limits, size=size)
    try:
        try:
            await pool.warm_up(min(warm, size))
        except InterpreterLost:
            # Scripts will say what is wrong with it; the other tools work all the same.
            pool.close()
        yield pool
    finally:
        pool.close()
