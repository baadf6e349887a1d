"""Memory that forks share with the process that they come from."""

import dataclasses
import os
import subprocess
import sys
import textwrap

import orjson
import pytest
from noetl_testkit.waiting import PATIENCE_SECONDS
from noetl_worker.interpreters.host import shortcuts
from noetl_worker.interpreters.nursery import InterpreterLimits
from noetl_worker.interpreters.pool import InterpreterPool, Keeping, interpreter_pool
from noetl_worker.interpreters.run import Run

_ETERNAL = 1 << 30
_WRITES_NO_COUNTS = pytest.mark.skipif(
    not shortcuts.are_safe(), reason="the interpreter is none that the shortcuts were tried with"
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


@pytest.mark.parametrize("is_wanted", [True, False])
async def test_scripts_run_with_and_without_shortcuts(
    interpreter_limits: InterpreterLimits, *, is_wanted: bool
) -> None:
    limits = dataclasses.replace(interpreter_limits, shortcuts=is_wanted)
    code = f"""
import random
{_COUNTS}
result = [min(result) >= {_ETERNAL}, random.random()]
"""
    async with interpreter_pool(
        executable=None, limits=limits, size=1, warm=1, keeping=Keeping(0, 60)
    ) as pool:
        ends = [await run(pool, code) for _ in range(3)]

    assert [one.exit_code for one in ends] == [0, 0, 0], ends[0].stderr
    assert {one.value[0] for one in ends} == {is_wanted and shortcuts.are_safe()}
    assert len({one.value[1] for one in ends}) == 3


def said_by(code: str) -> str:
    """Return the output of an interpreter that has made its objects eternal, and then ends."""
    program = f"""
import gc, sys, weakref
from noetl_worker.interpreters.host import shortcuts
class Node: pass
known = [Node(), "a text of its own", 12345.678, {{"a": (1, 2)}}]
{textwrap.dedent(code)}
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.strip()


@_WRITES_NO_COUNTS
def test_what_is_there_becomes_eternal_and_what_comes_later_not() -> None:
    code = """
    before = [sys.getrefcount(one) for one in known]
    assert shortcuts.are_safe()
    shortcuts.make_eternal()
    after = [sys.getrefcount(one) for one in (*known, Node, shortcuts.make_eternal.__code__)]
    more = [known] * 100
    later = Node()
    later.itself = later
    gone = weakref.ref(later)
    del later
    gc.collect()
    still = [sys.getrefcount(one) for one in known]
    print(max(before) < 100, set(after) == set(still) == {sys.getrefcount(None)}, gone() is None)
    """

    assert said_by(code) == "True True True"


@pytest.mark.parametrize(
    "other",
    [
        "shortcuts.TRIED = frozenset({(3, 99)})",
        "shortcuts._SMALLEST_ETERNAL_COUNT = 1 << 40",
        "shortcuts.sys.getrefcount = lambda one: 7",
        "shortcuts.sys.gettotalrefcount = lambda: 7",
        "shortcuts.sys._is_gil_enabled = lambda: False",
        "shortcuts.sys.implementation.name = 'other'",
    ],
)
def test_no_shortcut_is_taken_in_another_interpreter(other: str) -> None:
    assert said_by(f"{other}\nprint(shortcuts.are_safe())") == "False"


def test_a_fork_is_that_of_the_system_or_of_python() -> None:
    quick, plain = (shortcuts.fork_of(is_quick=one) for one in (True, False))

    assert plain is os.fork
    code = "print(7, flush=True) if not shortcuts.fork_of(is_quick=True)() else os.wait()"
    assert quick is not os.fork
    assert said_by(f"import os\n{code}") == "7"
