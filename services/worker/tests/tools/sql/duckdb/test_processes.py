"""DuckDB dies, hangs, or is turned against the worker: it is in a process of its own."""

import asyncio
import contextlib
import os
import shutil
import signal
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from noetl_worker.hosting.host.box import landlock_version
from noetl_worker.hosting.process import HostedProcess
from noetl_worker.settings import Settings
from noetl_worker.tools.sql.duckdb.duckdb import DuckDb
from noetl_worker.tools.sql.duckdb.sessions import DuckDbs
from noetl_worker.tools.tool import ToolContext, ToolError

pytestmark = pytest.mark.asyncio(loop_scope="module")
ENDLESS = "SELECT count(*) FROM range(10000000000) a, range(100000) b WHERE a.range % 7 = b.range"
_MEBIBYTE = 1 << 20


class Worker:
    """The tool, and the processes below the worker that serve it."""

    def __init__(self, **settings: Any) -> None:
        given = {"worker_duckdb_memory_bytes": 100 * _MEBIBYTE, "worker_duckdb_threads": 1}
        self.databases = DuckDbs(Settings(**{**given, **settings}))
        self.tool = DuckDb(self.databases, most_seconds=60, result_bytes=1 << 20)

    async def rows(self, query: str, *, execution: int = 7, **config: Any) -> Any:
        context = ToolContext(
            variables={},
            execution_id=execution,
            step="s",
            server_url="",
            toolbox=None,  # type: ignore[arg-type]  # it runs no other tools
        )
        result = await self.tool.run({"query": query, **config}, context)
        return result.data["rows"]

    async def is_well(self) -> bool:
        return bool(await self.rows("SELECT 1 AS a") == [{"a": 1}])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Worker]:
    made = Worker(worker_duckdb_paths=(str(tmp_path_factory.mktemp("shared")),))
    yield made
    await made.tool.close()


def processes() -> set[int]:
    """Return the processes below our own that serve queries, of all workers here."""
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if any(b"duckdb.host" in word for word in words):
                found.add(int(entry.name))
    nurseries = {pid for pid in found if _parent(pid) == os.getpid()}
    return {pid for pid in found if _parent(pid) in nurseries}


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


async def begun(worker: Worker, **config: Any) -> tuple["asyncio.Future[Any]", int]:
    """Begin an endless query; return it with the process that runs it."""
    before = processes()
    query = asyncio.ensure_future(worker.rows(ENDLESS, **config))
    await eventually(lambda: bool(processes() - before), what="its process is there")
    (pid,) = processes() - before
    await eventually(lambda: _ticks(pid) > 20, what="it works")
    return query, pid


def _ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


async def test_a_crash_is_an_error_of_its_call_alone(worker: Worker, tmp_path: Path) -> None:
    query, pid = await begun(worker, db_path=str(tmp_path / "x.duckdb"))
    os.kill(pid, signal.SIGSEGV)

    with pytest.raises(ToolError, match=r"process ended under it \(SIGSEGV\)") as caught:
        await query
    assert caught.value.failure.kind == "db_crash"
    assert await worker.is_well()
    # The file is free, and what was committed is in it.
    assert await worker.rows("SELECT 2 AS a", db_path=str(tmp_path / "x.duckdb")) == [{"a": 2}]


async def test_a_query_that_wants_more_than_it_counts_harms_nobody_else(worker: Worker) -> None:
    # The list is outside of what DuckDB's own limit counts.
    hungry = "SELECT len(list(a.range)) AS n FROM range(2000000000) a"
    with pytest.raises(ToolError, match="Database error: Query failed: "):
        await worker.rows(hungry)

    assert await worker.is_well()


async def test_what_takes_no_interrupt_is_killed(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "x.duckdb")
    query, pid = await begun(worker, db_path=path)
    # With much memory a process takes a while to end, and its lock of the file goes last.
    killed = HostedProcess.kill
    later = asyncio.get_running_loop().call_later
    monkeypatch.setattr(HostedProcess, "kill", lambda process: later(0.5, killed, process))
    os.kill(pid, signal.SIGSTOP)
    query.cancel()
    with pytest.raises(asyncio.CancelledError):
        await query

    again = (worker.rows("SELECT 3 AS a", db_path=path) for _ in range(5))
    assert await asyncio.gather(*again) == [[{"a": 3}]] * 5
    assert pid not in processes()


async def test_a_call_that_is_cancelled_takes_no_other_with_it(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, begun_to, may_end = str(tmp_path / "x.duckdb"), threading.Event(), threading.Event()

    def remove(*_given: object) -> None:
        begun_to.set()
        may_end.wait(PATIENCE_SECONDS)

    monkeypatch.setattr(shutil, "rmtree", remove)
    query, pid = await begun(worker, db_path=path)
    os.kill(pid, signal.SIGSTOP)
    query.cancel()
    with pytest.raises(asyncio.CancelledError):
        await query
    first, second = (
        asyncio.ensure_future(worker.rows("SELECT 3 AS a", db_path=path)) for _ in range(2)
    )
    # Both wait for the process whose directory is being removed.
    await eventually(begun_to.is_set, what="its end is noticed")
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    may_end.set()

    assert await second == [{"a": 3}]


async def test_a_process_serves_the_next_call_too(worker: Worker, tmp_path: Path) -> None:
    await worker.is_well()
    before = processes()
    assert await worker.is_well()
    assert processes() == before

    path = str(tmp_path / "x.duckdb")
    await asyncio.gather(*(worker.rows("SELECT 4 AS a", db_path=path) for _ in range(6)))

    assert len(processes() - before) == 1


async def test_idle_processes_are_few_and_end(tmp_path: Path) -> None:
    worker = Worker(worker_duckdb_kept=1, worker_duckdb_kept_seconds=0.5)
    before = processes()
    try:
        for name in ("a", "b", "c"):
            await worker.rows("SELECT 1 AS a", db_path=str(tmp_path / name))
        await eventually(lambda: processes() <= before, what="all have ended")
        assert await worker.is_well()
    finally:
        await worker.tool.close()
    await eventually(lambda: processes() <= before, what="all have ended with the tool")


@pytest.mark.skipif(landlock_version() < 4, reason="the kernel has no Landlock for this")
async def test_the_kernel_holds_it_where_duckdb_does_not(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the worker")
    shared = Path(worker.databases._paths[0]) / "shared.txt"
    await worker.is_well()
    # The paths that DuckDB itself gets; the process is started already.
    monkeypatch.setattr(worker.databases, "_confined", lambda _: ["/"])
    try:
        with pytest.raises(ToolError, match="Permission denied"):
            await worker.rows(f"SELECT content FROM read_text('{secret}')")
        for path in (f"{Path.home()}/.bashrc", f"/proc/{os.getpid()}/environ"):
            with pytest.raises(ToolError, match="Permission denied"):
                await worker.rows(f"SELECT content FROM read_text('{path}')")
        with pytest.raises(ToolError, match="Permission denied"):
            await worker.rows(f"COPY (SELECT 1) TO '{Path.home()}/x.csv'; SELECT 1 AS a")
        done = f"COPY (SELECT 1 AS a) TO '{shared}'; SELECT a FROM read_csv('{shared}')"
        assert await worker.rows(done) == [{"a": 1}]
    finally:
        monkeypatch.undo()


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except PermissionError:  # hidden from its own user
        return b""


async def test_its_environment_has_nothing_of_the_worker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NOETL_NATS_URL", "nats://worker:secret-of-the-broker@localhost")
    other = Worker()
    try:
        query, pid = await begun(other, db_path=str(tmp_path / "x.duckdb"))
        environment = _environment(pid)
        query.cancel()
        with pytest.raises(asyncio.CancelledError):
            await query
    finally:
        await other.tool.close()

    assert b"secret-of-the-broker" not in environment
