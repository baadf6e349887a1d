"""The functions that a module imports, for the run that has its engine now."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import wasmtime
from noetl_contract.plugins.interface import NAMESPACE
from noetl_worker.interpreters.run import Listener

from noetl_tool_wasm.engine import first_line
from noetl_tool_wasm.limits import RunLimits
from noetl_tool_wasm.services import Forbidden, Services

if TYPE_CHECKING:
    from noetl_contract.http.workers.output import OutputStream

type Pack = int
"""Address and length in one number: the upper and the lower 32 bits."""

_I32, _I64 = wasmtime.ValType.i32, wasmtime.ValType.i64
_WARNING: Final = 2
"""From this level on a line is an error's."""
_LOWER: Final = 0xFFFF_FFFF


@dataclass(slots=True)
class Host:
    """State and imports of one run. The run's thread calls its functions, the loop calls `stop`.

    Attributes:
        engine: The engine that no other run has now.
        loop: Where calls to others are made.
        failure: Why the run has to end; what the module does after it doesn't count.
        stopped: Why it was stopped from outside.
    """

    engine: wasmtime.Engine
    loop: asyncio.AbstractEventLoop
    services: Services
    limits: RunLimits
    listener: Listener | None = None
    failure: str | None = None
    stopped: str | None = None
    began: float = field(default_factory=monotonic)
    lines: list[bytes] = field(default_factory=list)
    errors: list[bytes] = field(default_factory=list)
    _logged: int = 0
    _calls: int = 0
    _pending: Future[Any] | None = None

    def stop(self, why: str) -> None:
        """End the run, wherever it is."""
        self.stopped = self.stopped or why
        # After the note: the thread reads it once the engine can interrupt it.
        self.engine.increment_epoch()
        pending = self._pending
        if pending is not None:
            pending.cancel()

    @property
    def seconds_left(self) -> float:
        """Seconds left of the run's time."""
        return self.limits.seconds - (monotonic() - self.began)

    def fail(self, why: str) -> None:
        """End the run because of a call that it made.

        No exception: the library keeps one for all threads.
        """
        self.failure = self.failure or why
        self.engine.increment_epoch()

    def log(self, caller: wasmtime.Caller, level: int, address: int, length: int) -> None:
        """Take a line of the module."""
        data = self._read(caller, address, length) + b"\n"
        room = self.limits.log_bytes - self._logged
        if room <= 0:
            return
        data = data[:room]
        self._logged += len(data)
        stream: OutputStream = "stderr" if level >= _WARNING else "stdout"
        (self.errors if level >= _WARNING else self.lines).append(data)
        if self.listener is not None:
            self.loop.call_soon_threadsafe(self.listener, stream, data)

    def http(self, caller: wasmtime.Caller, address: int, length: int) -> Pack:
        """Send a request for the module."""
        asked = self._read(caller, address, length)
        answer = self._wait(self.services.send(asked, seconds=self.seconds_left))
        return self._give(caller, answer)

    def kv_get(self, caller: wasmtime.Caller, address: int, length: int) -> Pack:
        """Return a value that was kept; 0: there is none."""
        key = self._read(caller, address, length).decode("utf-8", "replace")
        found = self._wait(self.services.value(key, seconds=self.seconds_left))
        return 0 if found is None else self._give(caller, found)

    def kv_set(
        self, caller: wasmtime.Caller, key: int, key_length: int, value: int, value_length: int
    ) -> None:
        """Keep a value."""
        name = self._read(caller, key, key_length).decode("utf-8", "replace")
        data = self._read(caller, value, value_length)
        self._wait(self.services.keep(name, data, seconds=self.seconds_left))

    def _wait[T](self, call: Coroutine[Any, Any, T]) -> T:
        """Have the loop make a call, and wait for it, no longer than the run may last."""
        self._calls += 1
        if self._calls > self.limits.calls:
            call.close()
            raise Forbidden(f"it made more than {self.limits.calls} calls")
        pending = asyncio.run_coroutine_threadsafe(_within(call, self.seconds_left), self.loop)
        self._pending = pending
        if self.stopped is not None:
            pending.cancel()
        try:
            return pending.result()
        except CancelledError as error:
            raise Forbidden(self.stopped or "its call was cancelled") from error
        except TimeoutError as error:
            self.stopped = self.stopped or "time"
            raise Forbidden("its time was over") from error
        finally:
            self._pending = None

    def _read(self, caller: wasmtime.Caller, address: int, length: int) -> bytes:
        address, length = address & _LOWER, length & _LOWER
        memory = _memory(caller)
        if length > self.limits.output_bytes:
            most = self.limits.output_bytes
            raise Forbidden(f"it gave {length} bytes to a call; the limit is {most}")
        if address + length > memory.data_len(caller):
            raise Forbidden(f"it gave {length} bytes at {address}, which it hasn't got")
        return bytes(memory.read(caller, address, address + length))

    def _give(self, caller: wasmtime.Caller, data: bytes) -> Pack:
        """Write bytes to where the module wants them."""
        alloc = caller.get("alloc")
        if not isinstance(alloc, wasmtime.Func):
            raise Forbidden("it exports no function 'alloc'")
        address = alloc(caller, len(data)) & _LOWER
        memory = _memory(caller)
        if not address or address + len(data) > memory.data_len(caller):
            raise Forbidden(f"its alloc gave {address} for {len(data)} bytes")
        memory.write(caller, data, address)
        return pack(address, len(data))


async def _within[T](call: Awaitable[T], seconds: float) -> T:
    async with asyncio.timeout(max(seconds, 0)):
        return await call


def pack(address: int, length: int) -> Pack:
    """Return an address and a length as one signed number of 64 bits."""
    packed = (address << 32) | length
    return packed - (1 << 64) if packed >= 1 << 63 else packed


def unpack(packed: Pack) -> tuple[int, int]:
    """Return address and length."""
    return (packed >> 32) & _LOWER, packed & _LOWER


def _memory(caller: wasmtime.Caller) -> wasmtime.Memory:
    memory = caller.get("memory")
    if not isinstance(memory, wasmtime.Memory):
        raise Forbidden("it exports no memory 'memory'")
    return memory


def define(linker: wasmtime.Linker, current: Callable[[], Host]) -> None:
    """Define the functions of the interface; each works for the run that is ``current``."""
    shapes = {
        "log": (3, 0),
        "http": (2, 1),
        "kv_get": (2, 1),
        "kv_set": (4, 0),
    }
    for name, (given, back) in shapes.items():
        kind = wasmtime.FuncType([_I32()] * given, [_I64()] * back)
        linker.define_func(
            NAMESPACE, name, kind, _guarded(name, current, has_result=bool(back)), True
        )


def _guarded(name: str, current: Callable[[], Host], *, has_result: bool) -> Callable[..., Any]:
    """Return a function that notes every failure and raises none."""
    nothing = 0 if has_result else None

    def call(caller: wasmtime.Caller, *arguments: int) -> int | None:
        host = current()
        if host.failure is not None or host.stopped is not None:
            return nothing
        try:
            found: int | None = getattr(host, name)(caller, *arguments)
        except Forbidden as error:
            host.fail(str(error))
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            host.fail(f"its alloc failed: {first_line(error)}")
        except Exception as error:  # noqa: BLE001 -- one that got out would end another run
            host.fail(f"'{name}' failed: {type(error).__name__}: {error}")
        else:
            return found
        return nothing

    return call
