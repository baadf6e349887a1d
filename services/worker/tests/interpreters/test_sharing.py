"""What forks share with the process that they come from."""

import sys

import orjson
import pytest
from noetl_testkit.waiting import PATIENCE_SECONDS
from noetl_worker.interpreters.pool import InterpreterPool, Keeping, interpreter_pool
from noetl_worker.interpreters.process import InterpreterLimits
from noetl_worker.interpreters.run import Run

_ETERNAL = 1 << 30
_WRITES_NO_COUNTS = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="the interpreter counts all references"
)
_COUNTS = """
import sys
result = [sys.getrefcount(one) for one in (json, json.dumps, json.dumps.__code__, json.__doc__)]
"""


async def run(pool: InterpreterPool, code: str, *, executable: str | None = None) -> Run:
    job = {
        "code": code,
        "name": "<start>",
        "args": {},
        "execution_id": 7,
        "step": "start",
        "server_url": "",
    }
    return await pool.run(
        orjson.dumps(job), timeout=PATIENCE_SECONDS, executable=executable, execution=7
    )


@_WRITES_NO_COUNTS
async def test_references_to_what_was_loaded_before_the_fork_are_not_counted(
    interpreters: InterpreterPool,
) -> None:
    counts = (await run(interpreters, _COUNTS)).value

    assert min(counts) >= _ETERNAL


@_WRITES_NO_COUNTS
async def test_what_a_script_makes_is_counted_and_freed(interpreters: InterpreterPool) -> None:
    code = """
import sys, weakref
class Made: pass
made = Made()
gone = weakref.ref(made)
count = sys.getrefcount(made)
del made
result = [count, gone() is None]
"""

    assert (await run(interpreters, code)).value == [2, True]


async def test_nothing_is_left_of_the_rehearsal(interpreter_limits: InterpreterLimits) -> None:
    code = """
import gc, linecache, os, sys
result = {
    "argument": "number" in globals(),
    "lines": [name for name in linecache.cache if name.startswith("<")],
    "files": os.listdir("."),
    "descriptors": len(os.listdir("/proc/self/fd")),
    "bodies": sum(type(one).__name__ == "Body" for one in gc.get_objects()),
}
"""
    found = []
    for executable in (None, sys.executable):  # the second is started for one script alone
        async with interpreter_pool(
            executable=None, limits=interpreter_limits, size=1, warm=1, keeping=Keeping(1, 60)
        ) as pool:
            found.append((await run(pool, code, executable=executable)).value)

    assert found[0] == found[1]
