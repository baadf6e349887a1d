"""A script leaves a process behind that has left its session and forgotten its environment."""

import asyncio
import contextlib
import os
import signal
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import orjson
import pytest
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from noetl_worker.hosting.host.calls import can_filter
from noetl_worker.interpreters.nursery import InterpreterLimits, ScriptBox
from noetl_worker.interpreters.pool import InterpreterPool, Keeping, interpreter_pool

_LEAVE = """
import os, signal, sys, time
zygote = os.getppid()
with open(f"/proc/{zygote}/status") as file:
    nursery = int(next(line for line in file if line.startswith("PPid")).split()[1])
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(1, 32):
            if number not in (9, 19):
                signal.signal(number, signal.SIG_IGN)
        sleeper = os.fork()
        if sleeper == 0:
            os.execve("/bin/sleep", ["sleep", args["mark"]], {})
        for whose, number in args["signals"]:
            try:
                os.kill({"zygote": zygote, "nursery": nursery}[whose], number)
            except PermissionError:
                pass
        os.execve("/bin/sleep", ["sleep", args["mark"]], {})
    os._exit(0)
time.sleep(args["seconds"])
"""


def sleepers(mark: str) -> list[int]:
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            with contextlib.suppress(OSError):
                if (place / "cmdline").read_bytes() == f"sleep\0{mark}\0".encode():
                    found.append(int(place.name))
    return found


def open_pool(box: ScriptBox | None) -> AbstractAsyncContextManager[InterpreterPool]:
    limits = InterpreterLimits(
        memory_bytes=1 << 30,
        file_bytes=1 << 20,
        output_bytes=1 << 16,
        result_bytes=1 << 16,
        box=box,
    )
    return interpreter_pool(
        executable=None, limits=limits, size=2, warm=1, keeping=Keeping(most=2, seconds=60)
    )


def make_job(code: str, **arguments: Any) -> bytes:
    job = {
        "code": code,
        "name": "<start>",
        "args": arguments,
        "execution_id": 1,
        "step": "start",
        "server_url": "",
    }
    return orjson.dumps(job)


_STOP, _KILL = signal.SIGSTOP, signal.SIGKILL
_ATTACKS = {
    "quiet": [],
    "kills its parent": [("zygote", _KILL)],
    "stops its grandparent": [("nursery", _STOP), ("zygote", _KILL)],
    # Stopped before, so that it has no time to look for what is left of the other.
    "kills both": [("nursery", _STOP), ("zygote", _KILL), ("nursery", _KILL)],
}


@pytest.mark.parametrize("attack", _ATTACKS)
@pytest.mark.parametrize("boxed", [False, True], ids=["without rules", "with rules"])
async def test_nothing_of_a_script_is_left_when_its_step_is_over(
    *, attack: str, boxed: bool
) -> None:
    mark = f"98{list(_ATTACKS).index(attack)}{int(boxed)}.{os.getpid()}"
    job = make_job(_LEAVE, mark=mark, signals=_ATTACKS[attack], seconds=1)
    async with open_pool(ScriptBox() if boxed else None) as pool:
        try:
            await asyncio.gather(
                pool.run(job, timeout=PATIENCE_SECONDS, execution=1), return_exceptions=True
            )
            assert sleepers(mark) == []
        finally:
            for pid in sleepers(mark):
                os.kill(pid, signal.SIGKILL)

        after = await pool.run(make_job("result = 5"), timeout=PATIENCE_SECONDS, execution=2)
    assert after.value == 5


_STARVE = """
import os, resource
zygote = os.getppid()
with open(f"/proc/{zygote}/status") as file:
    nursery = int(next(line for line in file if line.startswith("PPid")).split()[1])
limits = {}
for pid in (zygote, nursery):
    try:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, 0))
        limits[pid] = "changed"
    except PermissionError:
        limits[pid] = "refused"
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        null = os.open("/dev/null", os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        os.closerange(3, 64)
        os.execve("/bin/sleep", ["sleep", args["mark"]], {})
    os._exit(0)
os.wait()
result = sorted(limits.values())
"""


@pytest.mark.skipif(not can_filter(), reason="the kernel has no filters")
async def test_nothing_is_left_where_its_parents_were_to_be_blind() -> None:
    """Without open files they could not look for a script's leftovers."""
    mark = f"99.{os.getpid()}"
    async with open_pool(ScriptBox()) as pool:
        try:
            attack = await pool.run(
                make_job(_STARVE, mark=mark), timeout=PATIENCE_SECONDS, execution=1
            )
            await eventually(lambda: not sleepers(mark), what="all are gone")
        finally:
            for pid in sleepers(mark):
                os.kill(pid, signal.SIGKILL)

    assert attack.value == ["refused", "refused"]
