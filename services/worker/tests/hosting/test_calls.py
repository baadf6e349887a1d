"""System calls that a script may make, and those that are refused."""

import dataclasses
import errno
import os
import struct
from typing import Any

import orjson
import pytest
from noetl_testkit.waiting import PATIENCE_SECONDS
from noetl_worker.hosting.host.calls import COMMON, MACHINES, can_filter, program
from noetl_worker.interpreters.isolation import tell_isolation
from noetl_worker.interpreters.nursery import InterpreterLimits, ScriptBox
from noetl_worker.interpreters.pool import Keeping, interpreter_pool

needs_filters = pytest.mark.skipif(not can_filter(), reason="the kernel has no filters")

_OWN = 0x7FFF0000
_CALL = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    if libc.syscall(number, *(ctypes.c_long(one) for one in arguments)) >= 0:
        return "done"
    return errno.errorcode[ctypes.get_errno()]
"""


async def result_of(limits: InterpreterLimits, code: str, **args: Any) -> Any:
    job = {
        "code": code,
        "name": "<start>",
        "args": args,
        "execution_id": 7,
        "step": "start",
        "server_url": "",
    }
    box = ScriptBox(write=("/dev/shm",))  # noqa: S108  as by default
    async with interpreter_pool(
        executable=None,
        limits=dataclasses.replace(limits, box=box, memory_bytes=0),
        size=1,
        warm=1,
        keeping=Keeping(1, 5),
    ) as pool:
        run = await pool.run(orjson.dumps(job), timeout=PATIENCE_SECONDS)
    return run.value if run.has_value else run.stderr


@needs_filters
async def test_calls_that_reach_others_are_refused(interpreter_limits: InterpreterLimits) -> None:
    table = MACHINES[os.uname().machine][2] | COMMON
    given = {
        **{name: [number] for name, number in table.items()},
        "prlimit64": [table["prlimit64"], os.getpid(), 0, 0, 0],
        "sched_setaffinity": [table["sched_setaffinity"], os.getpid(), 0, 0],
        "sched_setscheduler": [table["sched_setscheduler"], os.getpid(), 0, 0],
        "sched_setparam": [table["sched_setparam"], os.getpid(), 0],
        "sched_setattr": [table["sched_setattr"], os.getpid(), 0, 0],
        "move_pages": [table["move_pages"], os.getpid(), 0, 0, 0, 0, 0],
        "setpriority": [table["setpriority"], 0, os.getpid(), 0],
        "setpriority, all of the user": [table["setpriority"], 2, 0, 0],
        "setpriority, a group": [table["setpriority"], 1, 0, 0],
        "ioprio_set": [table["ioprio_set"], 1, os.getpid(), 0],
        "ioprio_set, all of the user": [table["ioprio_set"], 3, 0, 0],
        "clone": [table["clone"], 0x10000000 | 17, 0, 0, 0, 0],
        "unshare": [table["unshare"], 0x10000000],
        "unshare, of time": [table["unshare"], 0x80],
    }

    found = await result_of(
        interpreter_limits,
        _CALL + "result = {name: call(*numbers) for name, numbers in given.items()}",
        given=given,
    )

    unknown = {"clone3", "io_uring_setup", "io_uring_enter", "io_uring_register"}
    assert found == {name: "ENOSYS" if name in unknown else "EPERM" for name in given}


@needs_filters
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="calls of another kind of machine")
async def test_calls_of_another_kind_are_not_there(interpreter_limits: InterpreterLimits) -> None:
    code = """
import mmap
# prlimit64 of a 32-bit process: mov eax, 340; xor of its arguments; int 0x80; ret
text = bytes.fromhex("b854010000" "31db" "31c9" "31d2" "31f6" "cd80" "c3")
place = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
place.write(text)
address = ctypes.addressof(ctypes.c_char.from_buffer(place))
old = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
result = [call(0x40000000 | 302, os.getppid(), 0, 0, 0), call(0x40000000 | 39), -old]
"""

    found = await result_of(interpreter_limits, _CALL + code)

    assert found == ["ENOSYS", "ENOSYS", errno.ENOSYS]


@needs_filters
async def test_what_a_script_starts_is_held_too(interpreter_limits: InterpreterLimits) -> None:
    code = """
import resource, subprocess, sys, threading
seen = []
def attempt():
    try:
        resource.prlimit(victim, resource.RLIMIT_NOFILE)
    except PermissionError:
        seen.append("refused")
thread = threading.Thread(target=attempt)
thread.start()
thread.join()
text = f"import resource; resource.prlimit({victim}, resource.RLIMIT_NOFILE)"
for command in ([sys.executable, "-c", text], ["unshare", "--user", "true"]):
    done = subprocess.run(command, capture_output=True, text=True)
    seen.append((done.returncode != 0, "ermitted" in done.stderr))
result = seen
"""

    found = await result_of(interpreter_limits, code, victim=os.getpid())

    assert found == ["refused", [True, True], [True, True]]


async def test_scripts_do_what_scripts_do(interpreter_limits: InterpreterLimits) -> None:
    code = """
import asyncio, concurrent.futures, multiprocessing, os, resource, subprocess, sys
from multiprocessing import shared_memory
def square(number):
    return number * number
with concurrent.futures.ThreadPoolExecutor(8) as threads:
    result = {"threads": sum(threads.map(square, range(10)))}
context = multiprocessing.get_context("fork")
with context.Pool(2) as processes:
    result["processes"] = sum(processes.map(square, range(10)))
queue = context.Queue()
process = context.Process(target=lambda: queue.put(5))
process.start()
result["queue"] = queue.get(timeout=60)
process.join()
memory = shared_memory.SharedMemory(create=True, size=100)
memory.buf[0] = 7
result["memory"] = memory.buf[0]
memory.close()
memory.unlink()
result["shell"] = subprocess.run(
    "ulimit -n 100; nice -n 2 echo x | cat", shell=True, capture_output=True, text=True,
    preexec_fn=os.setsid).stdout
async def echo():
    process = await asyncio.create_subprocess_exec(
        "echo", "hi", stdout=asyncio.subprocess.PIPE)
    return (await process.communicate())[0].decode()
result["asyncio"] = asyncio.run(echo())
result["spawn"] = os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
os.sched_setaffinity(0, os.sched_getaffinity(0))
os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
os.nice(1)
os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0))
open("part.py", "w").write("def more(number): return number + 1")
open("main.py", "w").write(
    "import multiprocessing, part\\n"
    "if __name__ == '__main__':\\n"
    "    for way in ('spawn', 'forkserver'):\\n"
    "        with multiprocessing.get_context(way).Pool(1) as pool:\\n"
    "            print(pool.map(part.more, [1]), end='')\\n")
result["other ways"] = subprocess.run(
    [sys.executable, "main.py"], capture_output=True, text=True).stdout
"""

    found = await result_of(interpreter_limits, code)

    assert found == {
        "threads": 285, "processes": 285, "queue": 5, "memory": 7, "shell": "x\n",
        "asyncio": "hi\n", "spawn": 0, "other ways": "[2][2]",
    }  # fmt: skip


def answer(machine: str, number: int, *arguments: int, word: int | None = None) -> int:
    """Return the answer of a filter, as the kernel runs it."""
    named = MACHINES[machine][0] if word is None else word
    data = struct.pack("=IIQ6Q", number, named, 0, *arguments, *([0] * (6 - len(arguments))))
    code = list(struct.iter_unpack("=HBBI", program(machine)))
    loaded, at = 0, 0
    while True:
        kind, yes, no, value = code[at]
        at += 1
        if kind == 0x06:
            return value
        if kind == 0x20:
            (loaded,) = struct.unpack_from("=I", data, value)
            continue
        holds = {0x15: loaded == value, 0x35: loaded >= value, 0x45: bool(loaded & value)}[kind]
        at += yes if holds else no


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_of_each_machine(machine: str) -> None:
    table = MACHINES[machine][2] | COMMON
    refused, unknown = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
    high = 1 << 40  # of a number that the kernel takes as one of 32 bits
    for name in ("prlimit64", "sched_setaffinity", "sched_setscheduler", "sched_setattr"):
        assert answer(machine, table[name], 0, 3) == _OWN
        assert answer(machine, table[name], high) == _OWN
        assert answer(machine, table[name], 0xFFFFFFFF) == refused
        assert answer(machine, table[name], high | 1) == refused
    assert answer(machine, table["setpriority"], 0, 0, 5) == _OWN
    assert answer(machine, table["setpriority"], 2, 0, 5) == refused
    assert answer(machine, table["ioprio_set"], 1, 0) == _OWN
    assert answer(machine, table["ioprio_set"], 1, 7) == refused
    assert answer(machine, table["clone"], 0x003D0F00) == _OWN  # a thread
    assert answer(machine, table["clone"], 0x01200011) == _OWN  # a fork
    for flag in (0x00020000, *(1 << bit for bit in range(25, 31))):
        assert answer(machine, table["clone"], flag | 17) == refused
        assert answer(machine, table["unshare"], flag) == refused
    assert answer(machine, table["clone3"]) == unknown
    assert answer(machine, table["shmget"]) == refused
    # Reading, signals of one's own, and what no table has.
    for number in set(range(460)) - set(table.values()):
        assert answer(machine, number, 1, 1, 1) == _OWN
    for word in {one[0] for one in MACHINES.values()} - {MACHINES[machine][0]} | {0x40000003}:
        assert answer(machine, 1, word=word) == unknown


def test_what_is_switched_off_is_told_so() -> None:
    assert not tell_isolation(None)["calls"]
    assert tell_isolation(ScriptBox())["calls"] == can_filter()
