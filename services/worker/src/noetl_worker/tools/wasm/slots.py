"""Engines, each for one run at a time, so that stopping one run stops no other."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Final

import wasmtime
from noetl_contract.plugins.binary import BadModule, check_module

from noetl_worker import metrics
from noetl_worker.tools.wasm.host import Host, define, unpack
from noetl_worker.tools.wasm.limits import RunLimits
from noetl_worker.tools.wasm.plugins import Plugin

_SIGNATURES: Final = {"alloc": (["i32"], ["i32"]), "run": (["i32", "i32"], ["i64"])}
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
    """An engine with what was compiled for it, and the run that has it."""

    engine: wasmtime.Engine
    linker: wasmtime.Linker
    ready: OrderedDict[str, wasmtime.InstancePre]
    host: Host | None = None

    def has(self, plugin: Plugin) -> bool:
        """Whether a module is ready; it was used last then."""
        key = _key(plugin)
        if key not in self.ready:
            return False
        self.ready.move_to_end(key)
        return True

    def current(self) -> Host:
        """Return what surrounds the present run."""
        if self.host is None:
            raise RuntimeError("no run has this engine")
        return self.host


class Slots:
    """Runs modules in threads: few at once, the others wait.

    Args:
        most: runs at once.
        kept: modules kept compiled.
    """

    def __init__(self, *, most: int, kept: int) -> None:
        self._most = most
        self._kept = kept
        self._turn = asyncio.Semaphore(most)
        self._idle: list[Slot] = []
        self._code: OrderedDict[str, bytes] = OrderedDict()
        self._threads = ThreadPoolExecutor(max_workers=most, thread_name_prefix="wasm")

    def close(self) -> None:
        """Start no more runs; those at work end by their time."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def run(
        self,
        plugin: Plugin,
        request: bytes,
        *,
        limits: RunLimits,
        host_for: Callable[[wasmtime.Engine], Host],
    ) -> tuple[Host, bytes]:
        """Run a module; return what surrounded it, and its result.

        Raises:
            OverTime: its time was over.
            Ended: it trapped, asked for what it may not, or is no module of the interface.
        """
        loop = asyncio.get_running_loop()
        async with self._turn:
            slot = self._idle.pop() if self._idle else _new_slot()
            try:
                if not slot.has(plugin):
                    loading = loop.run_in_executor(self._threads, self._load, slot, plugin)
                    await _unhurried(loading)
                host = slot.host = host_for(slot.engine)
                work = loop.run_in_executor(
                    self._threads, _run, slot, plugin, request, limits, host
                )
                timer = loop.call_later(limits.seconds, host.stop, "time")
                try:
                    return host, await _unhurried(work, lambda: host.stop("cancelled"))
                finally:
                    timer.cancel()
            finally:
                slot.host = None
                self._idle.append(slot)

    def _load(self, slot: Slot, plugin: Plugin) -> None:
        """Have a module ready for an engine: compiled once, and read again for other engines."""
        key = _key(plugin)
        try:
            module = self._module(slot.engine, key, plugin)
            slot.ready[key] = slot.linker.instantiate_pre(module)
        except wasmtime.WasmtimeError as error:
            raise Ended(f"it can't be compiled: {_first_line(error)}") from error
        while len(slot.ready) > self._kept:
            slot.ready.popitem(last=False)

    def _module(self, engine: wasmtime.Engine, key: str, plugin: Plugin) -> wasmtime.Module:
        code = self._code.get(key)
        if code is not None:
            return wasmtime.Module.deserialize(engine, code)
        started = perf_counter()
        binary = plugin.module
        if plugin.body.form == "wat":
            binary = bytes(wasmtime.wat2wasm(binary))
        try:
            check_module(binary, uses=plugin.body.uses)
        except BadModule as error:
            raise Ended(str(error)) from error
        module = wasmtime.Module(engine, binary)
        _check_signatures(module)
        self._code[key] = bytes(module.serialize())
        while len(self._code) > self._kept:
            self._code.popitem(last=False)
        metrics.PLUGIN_COMPILE_SECONDS.observe(perf_counter() - started)
        return module


async def _unhurried[T](work: asyncio.Future[T], stop: Callable[[], None] = lambda: None) -> T:
    """Await what a thread does; when cancelled, stop it and wait for its end."""
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


def _new_slot() -> Slot:
    config = wasmtime.Config()
    config.consume_fuel = True
    config.epoch_interruption = True
    config.wasm_threads = False
    config.wasm_memory64 = False
    config.wasm_multi_memory = False
    # The worker has other things to do with its cores.
    config.parallel_compilation = False
    engine = wasmtime.Engine(config)
    linker = wasmtime.Linker(engine)
    slot = Slot(engine, linker, OrderedDict())
    define(linker, slot.current)
    return slot


def _check_signatures(module: wasmtime.Module) -> None:
    for export in module.exports:
        wanted, kind = _SIGNATURES.get(export.name), export.type
        if wanted is None or not isinstance(kind, wasmtime.FuncType):
            continue
        found = ([str(one) for one in kind.params], [str(one) for one in kind.results])
        if found != wanted:
            shown = f"({', '.join(wanted[0])}) -> {wanted[1][0]}"
            raise Ended(f"its '{export.name}' is no function {shown}")


def _run(slot: Slot, plugin: Plugin, request: bytes, limits: RunLimits, host: Host) -> bytes:
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
        exports = slot.ready[_key(plugin)].instantiate(store).exports(store)
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
    """Return what a compiled module is kept under: what it may import is checked with it."""
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
    """Return why a run ended: what was noted counts before what the module did then."""
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
    return Ended(f"{_first_line(error)}{memory}")


def _first_line(error: Exception) -> str:
    """Return what happened, without the stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if "wasm trap" in line or "error:" in line]
    text = causes[0] if causes else lines[0] if lines else type(error).__name__
    return text[:300]


def _signed(number: int) -> int:
    return number - (1 << 32) if number >= 1 << 31 else number
