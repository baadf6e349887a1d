"""Compile one module: the program of a process of its own, which can be ended at any moment.

The compiler can't be interrupted, and a few kilobytes of nested loops keep it busy for minutes. So
the system bounds its processor time and memory.

Standard input has the module, standard output a letter and the code, or why there is none.
"""

import resource
import sys
from dataclasses import asdict, dataclass
from math import ceil
from typing import Final

import orjson
import wasmtime
from noetl_contract.plugins.binary import BadModule, check_module

from noetl_tool_wasm.engine import first_line, new_engine

GOOD: Final = b"+"
"""The letter before code."""
BAD: Final = b"-"
"""The letter before a reason."""
_SIGNATURES: Final = {"alloc": (["i32"], ["i32"]), "run": (["i32", "i32"], ["i64"])}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is compiled, and the bounds.

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

    def to_argument(self) -> str:
        """Return it as a text that `main` reads."""
        return orjson.dumps(asdict(self)).decode()


def main() -> None:
    """Compile the module of the standard input as the only argument says."""
    job = Job(**orjson.loads(sys.argv[1]))
    data = sys.stdin.buffer.read()
    _bound(job)
    try:
        answer = GOOD + _compiled(data, job)
    except BadModule as error:
        answer = BAD + str(error).encode()
    except wasmtime.WasmtimeError as error:
        answer = BAD + f"it can't be compiled: {first_line(error)}".encode()
    sys.stdout.buffer.write(answer)


def _bound(job: Job) -> None:
    # What was used so far, for the interpreter and its modules, is not the module's.
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = ceil(used.ru_utime + used.ru_stime + job.seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (job.memory_bytes, job.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


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


if __name__ == "__main__":
    main()
