"""Has modules compiled, each in a process that is ended when it takes too long."""

import asyncio
import os
import signal
import sys
from time import perf_counter
from typing import Final

from noetl_common.logging import get_logger

from noetl_worker import metrics
from noetl_worker.tools.wasm.compile import GOOD, Job
from noetl_worker.tools.wasm.kept import Kept
from noetl_worker.tools.wasm.plugins import Plugin

_AT_ONCE: Final = 2
_BESIDE_SECONDS: Final = 60.0
"""Of the clock, beside its processor time: other processes have their turns as well."""
_CODE_BYTES: Final = 64 << 20
"""Of one module's code."""
_KEPT_BYTES: Final = 128 << 20
_NO_MEMORY: Final = (b"memory allocation of", b"MemoryError")
_PROGRAM: Final = "noetl_worker.tools.wasm.compile"

_log = get_logger()


class NotCompiled(Exception):
    """A module has no code; the message says why."""


class Compiler:
    """Gives the code of modules: each is compiled once, whoever asks, and few at once.

    Args:
        seconds: of processor time for one module.
        memory_bytes: of one compilation.
        kept: modules whose code, or whose fault, is kept.
    """

    def __init__(self, *, seconds: float, memory_bytes: int, kept: int) -> None:
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._running: dict[str, asyncio.Task[bytes]] = {}
        self._kept = Kept[bytes | NotCompiled](most=kept, most_bytes=_KEPT_BYTES)

    async def code(self, key: str, plugin: Plugin) -> bytes:
        """Return the code of a module.

        Raises:
            NotCompiled: there is none.
        """
        known = self._kept.get(key)
        if isinstance(known, NotCompiled):
            raise NotCompiled(*known.args)
        if known is not None:
            return known
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(self._compile(key, plugin))
            task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End what is being compiled."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, key: str, task: asyncio.Task[bytes]) -> None:
        self._running.pop(key, None)
        if not task.cancelled():
            # Those who asked may all be gone.
            task.exception()

    async def _compile(self, key: str, plugin: Plugin) -> bytes:
        job = Job(
            is_text=plugin.body.form == "wat",
            uses=tuple(plugin.body.uses),
            seconds=self._seconds,
            memory_bytes=self._memory_bytes,
            code_bytes=_CODE_BYTES,
        )
        async with self._turn:
            started = perf_counter()
            try:
                code = await self._by_process(job, plugin.module)
            except NotCompiled as fault:
                _log.warning("plugin_not_compiled", plugin=plugin.named, reason=str(fault))
                # So that the next step is told at once.
                self._kept.put(key, fault, size=0)
                raise
            finally:
                metrics.PLUGIN_COMPILE_SECONDS.observe(perf_counter() - started)
        self._kept.put(key, code, size=len(code))
        return code

    async def _by_process(self, job: Job, module: bytes) -> bytes:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-m",
            _PROGRAM,
            job.to_argument(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # It needs nothing of the worker's, least of all secrets.
            env={"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        seconds = job.seconds + _BESIDE_SECONDS
        try:
            async with asyncio.timeout(seconds):
                answer, errors = await process.communicate(module)
        except TimeoutError:
            raise NotCompiled(f"it can't be compiled within {seconds:g} seconds") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode == 0 and answer:
            if answer.startswith(GOOD):
                return answer[1:]
            raise NotCompiled(answer[1:].decode("utf-8", "replace"))
        raise NotCompiled(_why(process.returncode, errors, job))


def _why(code: int | None, errors: bytes, job: Job) -> str:
    """Return why a compilation has no answer."""
    if code in {-signal.SIGXCPU, -signal.SIGKILL}:
        return f"it can't be compiled within {job.seconds:g} seconds of processor time"
    if any(words in errors for words in _NO_MEMORY):
        return f"it can't be compiled with {job.memory_bytes} bytes of memory"
    return f"it can't be compiled: the compiler ended with {code}"
