"""Scripts whose process can't be started at first: nothing of them has begun, so they wait."""

import asyncio
import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import orjson
import pytest
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from noetl_worker.hosting.fork_server import StartFailed
from noetl_worker.interpreters.nursery import InterpreterLimits
from noetl_worker.interpreters.pool import InterpreterPool, Keeping, interpreter_pool
from noetl_worker.interpreters.run import Run


async def run(pool: InterpreterPool, code: str, *, seconds: float = 60, execution: int = 7) -> Run:
    job = {"code": code, "name": "<start>", "args": {"x": 1}, "execution_id": 7, "step": "start"}
    encoded = orjson.dumps({**job, "server_url": ""})
    return await pool.run(encoded, timeout=seconds, execution=execution)


@asynccontextmanager
async def pool_of(
    executable: Path | None, *, patience_seconds: float = PATIENCE_SECONDS
) -> AsyncIterator[InterpreterPool]:
    limits = InterpreterLimits(memory_bytes=0, file_bytes=0, output_bytes=1000, result_bytes=1000)
    async with interpreter_pool(
        executable=None if executable is None else str(executable),
        limits=limits,
        size=2,
        warm=0,
        keeping=Keeping(most=0, seconds=1),
        patience_seconds=patience_seconds,
    ) as pool:
        yield pool


def dying(folder: Path, times: int) -> Path:
    """Return an interpreter that ends at its start so many times, as if for want of memory."""
    program, count = folder / "python", folder / "count"
    count.write_text("0")
    program.write_text(
        f"""#!/bin/sh
n=$(cat {count})
echo $((n + 1)) > {count}
[ $n -lt {times} ] && kill -9 $$
exec {sys.executable} "$@"
"""
    )
    program.chmod(0o755)
    return program


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Let this process open nothing more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_process_that_ends_at_its_start_is_started_again(tmp_path: Path) -> None:
    async with pool_of(dying(tmp_path, 3)) as pool:
        ended = await run(pool, "result = x + 1")

    assert ended.value == 2
    assert (tmp_path / "count").read_text().strip() == "4"


async def test_a_script_waits_for_descriptors_and_others_take_the_next(tmp_path: Path) -> None:
    del tmp_path
    async with pool_of(None) as pool:
        with no_descriptors():
            waiting = asyncio.create_task(run(pool, "result = x + 1"))
            await eventually(lambda: not pool.is_able, what="it is known that none can be started")
            assert not await pool.is_ready()
            assert not waiting.done()
        ended = await waiting
        assert pool.is_able

    assert ended.value == 2


async def test_no_descriptors_end_no_script_that_runs(tmp_path: Path) -> None:
    """An answer without a descriptor is no sign that the forking process and its forks are gone."""
    gate = tmp_path / "gate"
    code = f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.01)"
    async with pool_of(None) as pool:
        first = asyncio.create_task(run(pool, code))
        await eventually(pool.script_pids, what="the first runs")
        with no_descriptors():
            second = asyncio.create_task(run(pool, "result = x + 1", execution=8))
            await eventually(lambda: not pool.is_able, what="no second one can be started")
        gate.touch()
        ended, other = await asyncio.gather(first, second)

    assert (ended.exit_code, other.value) == (0, 2)


async def test_the_reason_is_told_in_the_end(tmp_path: Path) -> None:
    async with pool_of(dying(tmp_path, 10_000), patience_seconds=0.5) as pool:
        with pytest.raises(StartFailed, match="it ended at its start"):
            await run(pool, "result = 1")


async def test_what_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    async with pool_of(tmp_path / "none") as pool:
        with pytest.raises(StartFailed, match="No such file or directory") as raised:
            await run(pool, "result = 1")

    assert not raised.value.may_pass


async def test_a_cancel_ends_the_wait(tmp_path: Path) -> None:
    async with pool_of(dying(tmp_path, 10_000)) as pool:
        waiting = asyncio.create_task(run(pool, "result = 1"))
        await eventually(lambda: not pool.is_able, what="it can't be started")
        waiting.cancel()
        await asyncio.wait([waiting])

    assert waiting.cancelled()


FORKS_LATE = """
import errno, os, sys
from noetl_worker.interpreters.host import zygote

zygote._TRIES, zygote._PAUSE_SECONDS = 5, 0.01
answers, directory = [], os.getcwd()

def refused():
    raise BlockingIOError(errno.EAGAIN, "no process")

def fork():
    if len(answers) < int(sys.argv[1]):
        answers.append("refused")
        return -1 if len(answers) % 2 else refused()
    return os.fork()

class NoTraces:
    def settle(self, **_): pass
    def begin(self): pass

ends = [os.pipe() for _ in range(3)]
(job, _), (_, report), (said, control) = ends
if os.fork() == 0:
    zygote.Zygote(
        job=job, report=report, control=control, largest=0, box=None, traces=NoTraces(), fork=fork
    ).serve(parent=os.getppid())
os.close(control)
print(os.read(said, 100)[:4].decode(), os.path.exists(directory))
"""


@pytest.mark.parametrize(("refusals", "said"), [(4, "REDY True"), (1000, " False")])
def test_a_zygote_forks_as_soon_as_the_system_lets_it(
    tmp_path: Path, refusals: int, said: str
) -> None:
    """It ends if that takes long; its worker starts another one."""
    ended = subprocess.run(
        [sys.executable, "-c", FORKS_LATE, str(refusals)],
        cwd=tmp_path,
        capture_output=True,
        check=True,
        text=True,
    )
    assert ended.stdout == f"{said}\n"
