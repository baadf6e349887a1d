"""A script divides its use among many processes and files, each below its own limit."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest
from noetl_testkit.waiting import PATIENCE_SECONDS
from noetl_worker.interpreters.guard import TreeLimits
from noetl_worker.interpreters.nursery import InterpreterLimits, ScriptBox
from noetl_worker.interpreters.pool import InterpreterPool, Keeping, interpreter_pool
from noetl_worker.loops import run_guard

_MEBIBYTE = 1 << 20
_LIMITS = TreeLimits(
    processes=20, memory_bytes=200 * _MEBIBYTE, files=500, files_bytes=40 * _MEBIBYTE
)
_HUNGRY = {
    "memory": (
        """
import os, time
for _ in range(4):
    if os.fork() == 0:
        mine = bytearray(os.urandom(1 << 20)) * 80
        time.sleep(60)
time.sleep(60)
""",
        (
            "its processes use more than 209715200 bytes of memory together "
            "(NOETL_WORKER_PYTHON_MEMORY_BYTES)"
        ),
    ),
    "bytes": (
        """
import time
for number in range(6):
    with open(str(number), "wb") as file:
        file.write(bytes(8 << 20))
time.sleep(60)
""",
        "its directory has more than 41943040 bytes (NOETL_WORKER_PYTHON_DIRECTORY_BYTES)",
    ),
    "files": (
        """
import os, time
for number in range(30):
    os.mkdir(f"d{number}")
    for other in range(20):
        open(f"d{number}/{other}", "w").close()
time.sleep(60)
""",
        "its directory has more than 500 files (NOETL_WORKER_PYTHON_DIRECTORY_FILES)",
    ),
    "processes": (
        """
import os, time
for _ in range(30):
    if os.fork() == 0:
        os.setsid()
        time.sleep(60)
time.sleep(60)
""",
        "it has more than 20 processes (NOETL_WORKER_PYTHON_PROCESSES)",
    ),
}


@asynccontextmanager
async def guarded_pool() -> AsyncIterator[InterpreterPool]:
    limits = InterpreterLimits(
        memory_bytes=150 * _MEBIBYTE,
        file_bytes=10 * _MEBIBYTE,
        output_bytes=1 << 16,
        result_bytes=1 << 16,
        box=ScriptBox(),
    )
    async with interpreter_pool(
        executable=None, limits=limits, size=2, warm=1, keeping=Keeping(most=2, seconds=60)
    ) as pool:
        guard = asyncio.create_task(run_guard(pool, _LIMITS))
        yield pool
        guard.cancel()


def make_job(code: str) -> bytes:
    job = {
        "code": code,
        "name": "<start>",
        "args": {},
        "execution_id": 1,
        "step": "start",
        "server_url": "",
    }
    return orjson.dumps(job)


@pytest.mark.parametrize("what", _HUNGRY)
async def test_it_is_killed_by_the_name_of_the_limit(what: str) -> None:
    code, excess = _HUNGRY[what]
    async with guarded_pool() as pool:
        ended = await pool.run(make_job(code), timeout=PATIENCE_SECONDS)
        after = await pool.run(make_job("result = 5"), timeout=PATIENCE_SECONDS)

    assert (ended.exit_code, ended.excess) == (-9, excess)
    assert (after.value, after.excess) == (5, None)


async def test_shared_memory_counts_once() -> None:
    code = """
import os, time
mine = bytearray(os.urandom(1 << 20)) * 60
for _ in range(8):
    if os.fork() == 0:
        time.sleep(2)
        os._exit(0)
time.sleep(2)
result = len(mine)
"""
    async with guarded_pool() as pool:
        ended = await pool.run(make_job(code), timeout=PATIENCE_SECONDS)

    assert ended.value == 60 * _MEBIBYTE
