"""Engines, each for one run at a time, so that stopping one run stops no other."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import wasmtime

from noetl_tool_wasm.compiler import Compiler, NotCompiled
from noetl_tool_wasm.engine import first_line, new_engine
from noetl_tool_wasm.host import Host, define, unpack
from noetl_tool_wasm.kept import Kept
from noetl_tool_wasm.limits import RunLimits
from noetl_tool_wasm.plugins import Plugin

_KEPT_BYTES: Final = 128 << 20
"""Of code that is kept ready for one engine."""
_LOWER: Final = 0xFFFF_FFFF
_PAGE: Final = 64 << 10
_TABLE_ELEMENTS: Final = 100_000
_TRAPS: Final = wasmtime.TrapCode


class Ended(Exception):
    """A run ended before its result; the message says why."""


class OverTime(Ended):
    """Its time was over."""


@dataclass(slots=True)
class Slot:
    """An engine with the modules that are ready for it, and the run that has it."""

    engine: wasmtime.Engine
    linker: wasmtime.Linker
    ready: Kept[wasmtime.InstancePre]
    host: Host | None = None

    def current(self) -> Host:
        """Return the host of the present run."""
        if self.host is None:
            raise RuntimeError("no run has this engine")
        return self.host


class Slots:
    """Runs modules in threads: few at once, the others wait.

    Args:
        compiler: gives the code of modules.
        most: runs at once.
        kept: modules kept ready for each engine.
    """

    def __init__(self, compiler: Compiler, *, most: int, kept: int) -> None:
        self._compiler = compiler
        self._kept = kept
        self._turn = asyncio.Semaphore(most)
        self._idle: list[Slot] = []
        self._threads = ThreadPoolExecutor(max_workers=most, thread_name_prefix="wasm")

    async def close(self) -> None:
        """Start no more runs; those at work end by their time."""
        await self._compiler.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def run(
        self,
        plugin: Plugin,
        request: bytes,
        *,
        limits: RunLimits,
        host_for: Callable[[wasmtime.Engine], Host],
    ) -> tuple[Host, bytes]:
        """Run a module; return its host, and its result.

        Raises:
            OverTime: its time was over.
            Ended: it trapped, asked for what it may not, or is no module of the interface.
        """
        loop = asyncio.get_running_loop()
        key = _key(plugin)
        try:
            # Before it has a slot: compiled modules run meanwhile.
            code = await self._compiler.code(key, plugin)
        except NotCompiled as error:
            raise Ended(str(error)) from error
        async with self._turn:
            slot = self._idle.pop() if self._idle else _new_slot(self._kept)
            try:
                ready = slot.ready.get(key)
                if ready is None:
                    loading = loop.run_in_executor(self._threads, _load, slot, code)
                    ready = await _unhurried(loading)
                    slot.ready.put(key, ready, size=len(code))
                host = slot.host = host_for(slot.engine)
                work = loop.run_in_executor(self._threads, _run, slot, ready, request, limits, host)
                timer = loop.call_later(limits.seconds, host.stop, "time")
                try:
                    return host, await _unhurried(work, lambda: host.stop("cancelled"))
                finally:
                    timer.cancel()
            finally:
                slot.host = None
                self._idle.append(slot)


def _load(slot: Slot, code: bytes) -> wasmtime.InstancePre:
    """Have a module ready for an engine."""
    try:
        return slot.linker.instantiate_pre(wasmtime.Module.deserialize(slot.engine, code))
    except wasmtime.WasmtimeError as error:
        raise Ended(f"it can't be linked: {first_line(error)}") from error


async def _unhurried[T](work: asyncio.Future[T], stop: Callable[[], None] = lambda: None) -> T:
    """Await the work of a thread; when cancelled, stop it and wait for its end."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stop()
        while not work.done():
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError:
                continue
        if not work.cancelled():
            work.exception()
        raise


def _new_slot(kept: int) -> Slot:
    engine = new_engine()
    linker = wasmtime.Linker(engine)
    slot = Slot(engine, linker, Kept(most=kept, most_bytes=_KEPT_BYTES))
    define(linker, slot.current)
    return slot


def _run(
    slot: Slot, ready: wasmtime.InstancePre, request: bytes, limits: RunLimits, host: Host
) -> bytes:
    """Run a module in this thread."""
    store = wasmtime.Store(slot.engine)
    memory: wasmtime.Memory | None = None
    try:
        store.set_fuel(limits.fuel)
        store.set_limits(
            memory_size=limits.memory_bytes,
            table_elements=_TABLE_ELEMENTS,
            instances=1,
            tables=10,
            memories=1,
        )
        store.set_epoch_deadline(1)
        if host.stopped is not None:
            raise OverTime
        exports = ready.instantiate(store).exports(store)
        found, alloc, run = exports["memory"], exports["alloc"], exports["run"]
        if not isinstance(found, wasmtime.Memory):
            raise Ended("it exports no memory 'memory'")
        memory = found
        address = _called(alloc, store, len(request)) & _LOWER
        _write(memory, store, request, address)
        packed = _called(run, store, _signed(address), len(request))
        if host.failure is not None or host.stopped is not None:
            raise _ended(host, limits, None)
        return _result(memory, store, packed, limits)
    except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
        used = memory.data_len(store) if memory is not None else 0
        raise _ended(host, limits, error, used=used) from error
    finally:
        store.close()


def _called(function: object, store: wasmtime.Store, *arguments: int) -> int:
    if not isinstance(function, wasmtime.Func):
        raise Ended("it exports no functions 'alloc' and 'run'")
    found: int = function(store, *arguments)
    return found


def _key(plugin: Plugin) -> str:
    """Return the key of a compiled module: its allowed imports are checked with it."""
    return f"{plugin.body.digest}:{','.join(sorted(plugin.body.uses))}"


def _write(memory: wasmtime.Memory, store: wasmtime.Store, data: bytes, address: int) -> None:
    if not address or address + len(data) > memory.data_len(store):
        raise Ended(f"its alloc gave {address} for {len(data)} bytes")
    memory.write(store, data, address)


def _result(
    memory: wasmtime.Memory, store: wasmtime.Store, packed: int, limits: RunLimits
) -> bytes:
    address, length = unpack(packed)
    if length > limits.output_bytes:
        raise Ended(f"its result has {length} bytes; the limit is {limits.output_bytes}")
    if address + length > memory.data_len(store):
        raise Ended(f"its result is {length} bytes at {address}, which it hasn't got")
    return bytes(memory.read(store, address, address + length))


def _ended(
    host: Host,
    limits: RunLimits,
    error: wasmtime.Trap | wasmtime.WasmtimeError | None,
    *,
    used: int = 0,
) -> Ended:
    """Return why a run ended: reasons noted before count more than the module's own error."""
    if host.stopped is not None:
        return OverTime("its time was over")
    if host.failure is not None or error is None:
        return Ended(host.failure or "it has no result")
    code = error.trap_code if isinstance(error, wasmtime.Trap) else None
    if code is _TRAPS.OUT_OF_FUEL:
        return Ended(f"it used up its fuel of {limits.fuel}")
    if code is _TRAPS.STACK_OVERFLOW:
        return Ended("its calls were nested too deeply")
    if used + _PAGE > limits.memory_bytes and code is not None:
        return Ended(f"its memory reached the limit of {limits.memory_bytes} bytes")
    memory = f", {used} of {limits.memory_bytes} bytes of memory in use" if code else ""
    return Ended(f"{first_line(error)}{memory}")


def _signed(number: int) -> int:
    return number - (1 << 32) if number >= 1 << 31 else number
