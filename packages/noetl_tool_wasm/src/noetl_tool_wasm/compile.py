"""Compile one module: the program of a process of its own, which can be ended at any moment.

The compiler can't be interrupted, and a few kilobytes of nested loops keep it busy for minutes. So
the system bounds its processor time and memory.

It gets a frame with the module, and answers with one whose head says whether it has the code, or
why there is none.
"""

import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson
import wasmtime
from noetl_contract.plugins.binary import BadModule, check_module
from noetl_worker.hosting.host import limits
from noetl_worker.hosting.host.wire import read_frame, write_frame

from noetl_tool_wasm.engine import first_line, new_engine

_SIGNATURES: Final = {"alloc": (["i32"], ["i32"]), "run": (["i32", "i32"], ["i64"])}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A module to compile, and the bounds.

    Attributes:
        is_text: Whether it is WebAssembly's text format.
        uses: What the module may import, by the words of `uses`.
        seconds: Of processor time.
        memory_bytes: Of address space.
        code_bytes: Of code that comes out.
    """

    is_text: bool
    uses: tuple[str, ...]
    seconds: float
    memory_bytes: int
    code_bytes: int


def load(_given: dict[str, Any]) -> Callable[[bytes, list[int], int], None]:
    """Return the function that compiles a module by its request."""
    return _live


def _live(request: bytes, descriptors: list[int], parent: int) -> None:
    channel, errors = descriptors
    # Where the compiler says what it ended for.
    os.dup2(errors, 2)
    if not limits.arm_parent_death(signal.SIGKILL, parent=parent):
        return
    job = Job(**orjson.loads(request))
    frame = read_frame(channel)
    if frame is None:  # the worker has left
        return
    limits.apply_limits(memory_bytes=job.memory_bytes, cpu_seconds=job.seconds)
    is_good = False
    try:
        answer, is_good = _compiled(bytes(frame[1]), job), True
    except BadModule as error:
        answer = str(error).encode()
    except wasmtime.WasmtimeError as error:
        answer = f"it can't be compiled: {first_line(error)}".encode()
    except MemoryError:
        answer = no_memory(job).encode()
    write_frame(socket.socket(fileno=channel), is_good, answer)


def no_memory(job: Job) -> str:
    """Return the reason why there is no code."""
    return f"it can't be compiled with {job.memory_bytes} bytes of memory"


def _compiled(data: bytes, job: Job) -> bytes:
    binary = bytes(wasmtime.wat2wasm(data)) if job.is_text else data
    check_module(binary, uses=job.uses)
    module = wasmtime.Module(new_engine(), binary)
    for export in module.exports:
        _check_signature(export)
    code = bytes(module.serialize())
    if len(code) > job.code_bytes:
        raise BadModule(f"its code has {len(code)} bytes; the limit is {job.code_bytes}")
    return code


def _check_signature(export: wasmtime.ExportType) -> None:
    wanted, kind = _SIGNATURES.get(export.name), export.type
    if wanted is None or not isinstance(kind, wasmtime.FuncType):
        return
    found = ([str(one) for one in kind.params], [str(one) for one in kind.results])
    if found != wanted:
        shown = f"({', '.join(wanted[0])}) -> {wanted[1][0]}"
        raise BadModule(f"its '{export.name}' is no function {shown}")
