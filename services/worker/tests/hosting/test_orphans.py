"""Processes left of a killed fork server end, and nothing else does."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from noetl_worker.hosting.host.limits import adopt_orphans, is_hosted
from noetl_worker.hosting.orphans import end_orphans

# Two levels that leave their session and environment, as a script may.
LEAVES_BEHIND = """
import os, sys
from noetl_worker.hosting.host.limits import mark_as_hosted
if sys.argv[1] == "marked":
    mark_as_hosted()
if os.fork() == 0:
    os.setsid()
    print(os.getpid(), flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for _ in range(2):
        if os.fork() == 0:
            break
    os.execve("/bin/sleep", ["sleep", "1000"], {})
"""


async def left_behind(how: str) -> list[psutil.Process]:
    """Return a process that was left behind, now a child of ours, and those below it."""
    adopt_orphans()
    made = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LEAVES_BEHIND, how, stdout=asyncio.subprocess.PIPE
    )
    assert made.stdout is not None
    first = psutil.Process(int(await asyncio.wait_for(made.stdout.readline(), PATIENCE_SECONDS)))
    await asyncio.wait_for(made.wait(), PATIENCE_SECONDS)
    await eventually(lambda: len(first.children()) == 2, what="both are there")
    assert first.ppid() == os.getpid()
    return [first, *first.children()]


async def test_what_is_left_behind_ends_with_all_below_it() -> None:
    found = await left_behind("marked")
    assert len(found) == 3
    assert all(is_hosted(one.pid) for one in found)

    await end_orphans()

    # Not even as zombies.
    assert [one for one in found if one.is_running()] == []


async def test_other_children_go_on() -> None:
    found = await left_behind("not marked")
    own = await asyncio.create_subprocess_exec("/bin/sleep", "1000")
    try:
        await end_orphans()

        assert [one.is_running() for one in found] == [True] * 3
        assert own.returncode is None
    finally:
        own.kill()
        for one in found:
            one.kill()
        await own.wait()
        for one in found:
            one.wait(PATIENCE_SECONDS)


def test_who_has_become_another_user_is_told_apart_by_one_that_may_not_ask() -> None:
    """A worker that is root in a container has no right to another user's limits."""
    code = """
import ctypes, os
from noetl_worker.hosting.host.limits import is_hosted, mark_as_hosted
said, telling = os.pipe()
gate, opened = os.pipe()
pid = os.fork()
if pid == 0:
    mark_as_hosted()
    os.setresuid(65534, 65534, 65534)
    os.write(telling, b".")
    os.close(opened)
    os.read(gate, 1)
    os._exit(0)
os.read(said, 1)
# Without CAP_SYS_RESOURCE (24) and CAP_SYS_PTRACE (19), as the engines' default set.
libc = ctypes.CDLL(None)
header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert libc.capget(header, data) == 0
for place in (0, 1):
    data[place] &= ~(1 << 24 | 1 << 19)
assert libc.capset(header, data) == 0
print(is_hosted(pid))
os.close(opened)
os.waitpid(pid, 0)
"""
    if os.getuid():
        pytest.skip("only root becomes another user")
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, cwd=Path(__file__).parent
    )
    assert said.stdout.split() == [b"True"]


def test_a_mark_stays_whatever_a_script_does() -> None:
    """It is recognised below a process that has the mark itself, too."""
    code = """
import os, resource
from noetl_worker.hosting.host.limits import is_hosted, mark_as_hosted
os.getuid() or os.setresuid(65534, 65534, 65534)
mark_as_hosted()
pid = os.fork()
if pid == 0:
    mark_as_hosted()
    soft, hard = resource.getrlimit(10)
    for bound in (hard + 1, resource.RLIM_INFINITY):
        try:
            resource.setrlimit(10, (soft, bound))
        except ValueError:
            continue
        os._exit(1)
    resource.setrlimit(10, (0, 0))
    os._exit(0)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
print(is_hosted(os.getpid()), is_hosted(pid), os.waitpid(pid, 0)[1])
"""
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, cwd=Path(__file__).parent
    )
    assert said.stdout.split() == [b"False", b"True", b"0"]
