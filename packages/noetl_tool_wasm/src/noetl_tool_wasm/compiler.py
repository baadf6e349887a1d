"""Has modules compiled, each in a process that is ended when it takes too long."""

import asyncio
import os
import signal
import socket
from dataclasses import asdict
from functools import partial
from time import perf_counter
from typing import Final

import orjson
from noetl_common.logging import get_logger
from noetl_worker import metrics
from noetl_worker.hosting.fork_server import ForkServer, StartFailed, both_ends, started
from noetl_worker.hosting.process import Channel, ChannelEnded, HostedProcess, LastWords

from noetl_tool_wasm.compile import Job, no_memory
from noetl_tool_wasm.kept import Kept
from noetl_tool_wasm.plugins import Plugin

_QUICK_SECONDS: Final = 2.0
"""Processor time that suffices for most modules. Others are compiled again after this time, one
after the other, so that they keep no other module waiting."""
_QUICK_AT_ONCE: Final = 2
_BESIDE_SECONDS: Final = 60.0
"""Of the clock, beside its processor time: other processes have their turns as well."""
_CODE_BYTES: Final = 64 << 20
"""Of one module's code."""
_KEPT_BYTES: Final = 128 << 20
_NO_MEMORY: Final = b"memory allocation of"
_REASON_BYTES: Final = 64 << 10
_PROGRAM: Final = "noetl_tool_wasm.compile"
# It needs nothing of the worker's, least of all secrets.
_ENVIRONMENT: Final = {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
_END_SECONDS: Final = 5.0

_log = get_logger()


class NotCompiled(Exception):
    """A module has no code; the message says why.

    Attributes:
        is_lasting: Whether another try would end the same way.
    """

    def __init__(self, message: str, *, is_lasting: bool = True) -> None:
        super().__init__(message)
        self.is_lasting = is_lasting


class _OverTime(NotCompiled):
    """It took too long."""


class Compiler:
    """Gives the code of modules: each is compiled once for all callers, and few at once.

    Args:
        seconds: of processor time for one module.
        memory_bytes: of one compilation.
        kept: modules whose code, or whose fault, is kept.
    """

    def __init__(self, *, seconds: float, memory_bytes: int, kept: int) -> None:
        self._memory_bytes = memory_bytes
        quick = (_QUICK_SECONDS, asyncio.Semaphore(_QUICK_AT_ONCE))
        whole = (seconds, asyncio.Semaphore(1))
        self._tries = (quick, whole) if seconds > _QUICK_SECONDS else (whole,)
        self._server = ForkServer(_PROGRAM, {}, environment=_ENVIRONMENT)
        self._at_work = 0
        self._running: dict[str, asyncio.Task[bytes]] = {}
        self._kept = Kept[bytes | str](most=kept, most_bytes=_KEPT_BYTES)

    async def code(self, key: str, plugin: Plugin) -> bytes:
        """Return the code of a module.

        Raises:
            NotCompiled: there is none.
        """
        known = self._kept.get(key)
        if isinstance(known, str):
            raise NotCompiled(known)
        if known is not None:
            return known
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(self._compile(key, plugin))
            task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End the compilations under way."""
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
        begun = perf_counter()
        self._at_work += 1
        try:
            code = await self._tried(plugin)
        except NotCompiled as fault:
            _log.warning("plugin_not_compiled", plugin=plugin.named, reason=str(fault))
            if fault.is_lasting:
                # So that the next step gets the error at once.
                self._kept.put(key, str(fault), size=0)
            raise
        finally:
            metrics.PLUGIN_COMPILE_SECONDS.observe(perf_counter() - begun)
            self._at_work -= 1
            if not self._at_work:
                # Seldom is there another one soon.
                await self._server.close()
        self._kept.put(key, code, size=len(code))
        return code

    async def _tried(self, plugin: Plugin) -> bytes:
        fault = NotCompiled("it was not compiled")
        for seconds, turn in self._tries:
            job = Job(
                is_text=plugin.body.form == "wat",
                uses=tuple(plugin.body.uses),
                seconds=seconds,
                memory_bytes=self._memory_bytes,
                code_bytes=_CODE_BYTES,
            )
            try:
                async with turn:
                    return await self._by_process(job, plugin.module)
            except _OverTime as error:
                fault = error
        raise fault

    async def _by_process(self, job: Job, module: bytes) -> bytes:
        try:
            process, channel, words = await started(partial(self._start, job))
        except StartFailed as error:
            raise NotCompiled(f"it can't be compiled: {error}", is_lasting=False) from error
        seconds = job.seconds + _BESIDE_SECONDS
        try:
            async with asyncio.timeout(seconds):
                is_good, answer = await channel.ask(
                    word=False, data=module, most=job.code_bytes + _REASON_BYTES
                )
        except TimeoutError:
            # Of the clock: the machine is busy.
            text = f"it can't be compiled within {seconds:g} seconds"
            raise _OverTime(text, is_lasting=False) from None
        except ChannelEnded:
            await process.wait(seconds=_END_SECONDS)
            raise _fault(process.exit_code, words.said(), job) from None
        finally:
            channel.close()
            process.kill()
            words.close()
            await process.wait(seconds=_END_SECONDS)
        if not is_good:
            raise NotCompiled(answer.decode("utf-8", "replace"))
        return answer

    async def _start(self, job: Job) -> tuple[HostedProcess, Channel, LastWords]:
        with both_ends() as ends:
            channel, errors = ends.socket(socket.SOCK_STREAM), ends.to_read()
            ends.tell_end()
            process = await self._server.fork(orjson.dumps(asdict(job)), ends)
        return process, Channel(channel), LastWords(errors, most=_REASON_BYTES)


def _fault(code: int | None, said: bytes, job: Job) -> NotCompiled:
    """Return why a compilation has no answer."""
    if code == -signal.SIGXCPU:
        return _OverTime(f"it can't be compiled within {job.seconds:g} seconds of processor time")
    if _NO_MEMORY in said:
        return NotCompiled(no_memory(job))
    return NotCompiled(f"it can't be compiled: the compiler ended with {code}", is_lasting=False)
