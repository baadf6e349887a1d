"""Files of queries: an execution's own, those of the settings, and no others."""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from noetl_testkit.waiting import eventually
from noetl_worker.hosting.host.box import landlock_version
from noetl_worker.settings import Settings
from noetl_worker.tools.sql.duckdb.duckdb import DuckDb
from noetl_worker.tools.sql.duckdb.files import FileDirectories
from noetl_worker.tools.sql.duckdb.sessions import DuckDbs
from noetl_worker.tools.tool import ToolContext, ToolError

needs_landlock = pytest.mark.skipif(
    landlock_version() < 4, reason="the kernel has no Landlock for this"
)


class Queries:
    """A worker's tool, with a folder of its own for everything that it makes."""

    def __init__(self, place: Path, **settings: Any) -> None:
        self.place = place
        given = {
            "worker_script_directory": str(place),
            "worker_script_write_paths": (),
            "worker_duckdb_memory_bytes": 100 << 20,
        }
        self.databases = DuckDbs(Settings(**(given | settings)))
        self.tool = DuckDb(self.databases, most_seconds=60, result_bytes=1 << 20)

    async def rows(self, execution: int, query: str, **config: Any) -> Any:
        context = ToolContext(
            variables={},
            execution_id=execution,
            step="s",
            server_url="",
            toolbox=None,  # type: ignore[arg-type]  # it runs no other tools
        )
        result = await self.tool.run({"query": query, **config}, context)
        return result.data.get("rows")

    async def refused(self, execution: int, query: str, **config: Any) -> str:
        with pytest.raises(ToolError) as caught:
            await self.rows(execution, query, **config)
        return str(caught.value)


@asynccontextmanager
async def queries(place: Path, **settings: Any) -> AsyncIterator[Queries]:
    await asyncio.to_thread(place.mkdir, exist_ok=True)
    made = Queries(place, **settings)
    yield made
    await made.tool.close()


async def test_a_later_step_finds_what_an_earlier_one_wrote(tmp_path: Path) -> None:
    async with queries(tmp_path / "place") as worker, queries(tmp_path / "place") as other:
        await worker.rows(1, "COPY (SELECT 7 AS a) TO 'x.csv'; SELECT 1")
        await worker.rows(1, "ATTACH 'x.duckdb' AS x; CREATE TABLE x.t AS SELECT 8 AS a; DETACH x")

        assert await worker.rows(1, "SELECT a FROM 'x.csv'") == [{"a": 7}]
        # Another worker of the machine.
        attach = [{"type": "csv", "name": "c", "path": "x.csv"}, {"name": "d", "path": "x.duckdb"}]
        found = await other.rows(1, "SELECT c.a AS c, t.a AS d FROM c, d.t", attach=attach)
        assert found == [{"c": 7, "d": 8}]


async def test_the_directory_of_an_execution_is_empty_and_its_own(tmp_path: Path) -> None:
    async with queries(tmp_path / "place") as worker:
        await worker.rows(1, "COPY (SELECT 'theirs' AS a) TO 'x.csv'; SELECT 1")
        (theirs,) = (tmp_path / "place").glob("noetl-duckdb-files-*/1")

        assert await worker.rows(2, "SELECT * FROM glob('**')") == []
        for path in (
            f"{theirs}/x.csv",
            "../1/x.csv",
            f"/proc/self/root{theirs}/x.csv",
            "/proc/self/cwd/../1/x.csv",
            f"{theirs.parent}/2/../1/x.csv",
            f"{theirs.parent}/*/x.csv",
            f"file://{theirs}/x.csv",
        ):
            for query in (
                f"SELECT * FROM read_text('{path}')",
                f"COPY (SELECT 1) TO '{path}'",
                f"ATTACH '{path}' AS other",
            ):
                await worker.refused(2, query)
        assert (theirs / "x.csv").read_text() == "a\ntheirs\n"
        assert list(theirs.glob("*")) == [theirs / "x.csv"]


@needs_landlock
async def test_a_link_in_a_shared_folder_leads_nowhere(tmp_path: Path) -> None:
    """Scripts may make links where the settings let them and queries write."""
    shared = tmp_path / "shared"
    shared.mkdir()
    async with queries(tmp_path / "place", worker_duckdb_paths=(str(shared),)) as worker:
        await worker.rows(1, "COPY (SELECT 'theirs' AS a) TO 'x.csv'; SELECT 1")
        (theirs,) = (tmp_path / "place").glob("noetl-duckdb-files-*/1")
        (shared / "link").symlink_to(theirs)
        (shared / "file.csv").symlink_to(theirs / "x.csv")

        for path in (f"{shared}/link/x.csv", f"{shared}/file.csv"):
            await worker.refused(2, f"SELECT * FROM read_text('{path}')")
            await worker.refused(2, f"COPY (SELECT 1) TO '{path}'")
        assert (theirs / "x.csv").read_text() == "a\ntheirs\n"
        await worker.rows(2, f"COPY (SELECT 3 AS a) TO '{shared}/x.csv'; SELECT 1")
        assert await worker.rows(3, f"SELECT a FROM '{shared}/x.csv'") == [{"a": 3}]


async def test_no_database_file_lies_in_the_directory_of_a_script(tmp_path: Path) -> None:
    place = tmp_path / "place"
    async with queries(place) as worker:
        script = place / "noetl-python-abcdefgh"
        script.mkdir()
        (tmp_path / "link").symlink_to(script)

        for path in (script / "x.db", tmp_path / "link" / "x.db", f"{place}/a/../{script.name}/x"):
            error = await worker.refused(2, "CREATE TABLE t (a int)", db_path=str(path))
            assert "lies in a directory of the worker's" in error
        assert list(script.glob("*")) == []
        assert await worker.rows(2, "SELECT 1 AS a", db_path=f"{tmp_path}/x.db") == [{"a": 1}]


@needs_landlock
async def test_a_folder_that_is_replaced_by_a_link_is_not_opened(tmp_path: Path) -> None:
    """The link is made between the look at the path and the start of the process."""
    (tmp_path / "elsewhere").mkdir()
    async with queries(tmp_path / "place") as worker:
        place = tmp_path / "folder"
        place.mkdir()
        check = worker.databases._check_database

        def replaced(path: str) -> None:
            check(path)
            place.rmdir()
            place.symlink_to(tmp_path / "elsewhere")

        worker.databases._check_database = replaced  # type: ignore[method-assign]
        error = await worker.refused(2, "CREATE TABLE t (a int)", db_path=f"{place}/x.db")

    assert "Permission denied" in error
    assert list((tmp_path / "elsewhere").glob("*")) == []


async def test_relative_names_stay_where_the_settings_let_them_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    async with queries(tmp_path / "place", worker_duckdb_paths=(str(tmp_path / "work"),)) as worker:
        await worker.rows(1, "COPY (SELECT 7 AS a) TO 'x.csv'; SELECT 1")

        assert (work / "x.csv").read_text() == "a\n7\n"


async def test_directories_go_when_nobody_has_used_them_for_long(tmp_path: Path) -> None:
    directories = FileDirectories(tmp_path, seconds=100, least=1)
    old, used = Path(await directories.of(1)), Path(await directories.of(2))
    (old / "file").write_text("1")
    for one in (old, used):
        os.utime(one, (1, 1))
    again = FileDirectories(tmp_path, seconds=100, least=1)

    assert await again.of(2) == str(used)
    await eventually(lambda: list(tmp_path.glob("*/*")) == [used], what="the old one is gone")


async def test_they_go_earlier_where_their_place_is_nearly_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Directories of scripts lie in the same place."""
    directories = FileDirectories(tmp_path, seconds=10_000, least=100)
    old = Path(await directories.of(1))
    os.utime(old, (time.time() - 1000, time.time() - 1000))
    used = await FileDirectories(tmp_path, seconds=10_000, least=100).of(2)
    there = {str(old), used}
    await eventually(lambda: {str(one) for one in tmp_path.glob("*/*")} == there)

    room = shutil.disk_usage(tmp_path)._replace(total=1 << 30, free=100 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: room)
    assert await FileDirectories(tmp_path, seconds=10_000, least=100).of(2) == used
    await eventually(lambda: [str(one) for one in tmp_path.glob("*/*")] == [used])


async def test_a_folder_that_somebody_else_has_made_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"noetl-duckdb-files-{os.geteuid()}").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ToolError, match="is not this user's alone"):
        await FileDirectories(tmp_path, seconds=100, least=1).of(1)
