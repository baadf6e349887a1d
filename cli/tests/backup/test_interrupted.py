"""Backups side by side, and restores that are killed, stopped or fail in the middle."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from noetl.backup.dump import back_up
from noetl.backup.manifest import compare_files
from noetl.backup.restore import restore, send_again, undo
from noetl.backup.tools import Program
from noetl.doctor.databases import Place, Roll, look_at_database
from noetl.stack.errors import StackError
from noetl.stack.process import birth
from noetl.stack.servers import binaries
from noetl.stack.servers.databases import Databases
from noetl_pg.pool import wait_for_schema
from noetl_testkit.bus import running
from noetl_testkit.postgres import Database, PostgresServer
from noetl_testkit.stack import command
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually, wait_for, wait_until
from structlog.testing import capture_logs

HELD = "SELECT coalesce(string_agg(message_id, ' ' ORDER BY event_id), '') FROM noetl.outbox"
SCHEMAS = (
    "SELECT string_agg(nspname, ' ' ORDER BY nspname) FROM pg_namespace WHERE nspname ~ '^noetl'"
)
ADD = """
INSERT INTO noetl.outbox (execution_id, event_id, kind, message_id, status, published_at)
VALUES (1, {0}, 'commit', '{1}', 'PUBLISHED', now())
"""
PSQL = binaries.postgres("psql")


@dataclass
class Pair:
    """Two shards, each with one row in its outbox."""

    first: Database
    second: Database

    @property
    def databases(self) -> Databases:
        shards = (self.first.address, self.second.address)
        return Databases(shards=shards, cluster=shards[0], is_sharded=True)

    def add(self, number: int, text: str) -> None:
        for one in (self.first, self.second):
            one.run(ADD.format(number, text))

    def ask(self, question: str) -> list[str]:
        return [one.run(question) for one in (self.first, self.second)]


@pytest.fixture
def pair(postgres_server: PostgresServer, database_template: str) -> Iterator[Pair]:
    with (
        postgres_server.fresh(template=database_template) as first,
        postgres_server.fresh(template=database_template) as second,
    ):
        found = Pair(first, second)
        found.add(1, "kept")
        yield found


def test_shards_are_dumped_as_of_one_moment_and_a_name_has_one_backup(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, go = tmp_path / "backup", tmp_path / "go"
    views = (
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
        f" AND datname = '{pair.first.name}'"
    )
    put_before(
        "pg_dump",
        f"""
        views() {{ {PSQL} -XqAt -c "{views}"; }}
        # A server learns of a client's end a moment later.
        if [ "$PGDATABASE" = {pair.second.name} ]; then
            while [ "$(views)" != 0 ]; do sleep 0.02; done
        fi
        echo "$PGDATABASE $PGAPPNAME $(views)" >> {tmp_path}/said
        while [ ! -e {go} ]; do sleep 0.02; done
        """,
        folder=tmp_path,
        monkeypatch=monkeypatch,
    )
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(back_up, pair.databases, folder, seconds=60)
        wait_until(lambda: running.done() or (tmp_path / "said").exists())
        try:
            with pytest.raises(StackError, match="another backup is writing it, or one was killed"):
                back_up(pair.databases, folder, seconds=60)
            pair.add(2, "later")
        finally:
            go.touch()
        manifest = running.result(60)
    with pytest.raises(StackError, match="exists already"):
        back_up(pair.databases, folder, seconds=60)

    compare_files(folder, manifest)
    said = (tmp_path / "said").read_text().splitlines()
    # The view of a shard ends with its own dump.
    assert said == [
        f"{pair.first.name} noetl-server backup 1",
        f"{pair.second.name} noetl-server backup 0",
    ]
    restore(pair.databases, folder, replace=True, seconds=60)
    assert pair.ask(HELD) == ["kept", "kept"]


def test_an_interrupted_restore_shows_and_leaves_what_was_there(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, pid_file, failing = tmp_path / "backup", tmp_path / "pid", tmp_path / "failing"
    back_up(pair.databases, folder, seconds=60)
    pair.add(2, "present")
    put_before(
        "pg_restore",
        f"""
        if [ "$PGDATABASE" = {pair.second.name} ]; then
            if [ -e {failing} ]; then echo no luck >&2; exit 3; fi
            if [ -e {tmp_path}/hang ]; then
                echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 1000
            fi
        fi
        """,
        folder=tmp_path,
        monkeypatch=monkeypatch,
    )

    stopped_in_the_middle(pair, folder, tmp_path, number=signal.SIGKILL)

    assert pair.ask(SCHEMAS) == [
        "noetl noetl_before noetl_closed noetl_shown noetl_shown_before",
        "noetl_before noetl_closed noetl_shown_before",
    ]
    asyncio.run(half_a_restore_is_named(pair, tmp_path))
    with pytest.raises(StackError, match="has a schema noetl already"):
        restore(pair.databases, folder, seconds=60)
    assert pair.ask(HELD) == ["kept present", "kept present"]

    complaint = stopped_in_the_middle(pair, folder, tmp_path, number=signal.SIGTERM)
    assert "noetl-server: stopped; each database holds again" in complaint
    assert pair.ask(HELD) == ["kept present", "kept present"]

    failing.touch()
    with pytest.raises(StackError, match="no luck; each database holds again"):
        restore(pair.databases, folder, replace=True, seconds=60)
    assert pair.ask(HELD) == ["kept present", "kept present"]
    assert pair.ask(SCHEMAS) == ["noetl noetl_shown"] * 2
    failing.unlink()

    restore(pair.databases, folder, replace=True, seconds=60)
    assert pair.ask(HELD) == ["kept", "kept"]
    assert pair.ask(SCHEMAS) == ["noetl noetl_shown"] * 2


def test_a_restore_that_was_killed_at_its_very_end_is_ended(pair: Pair) -> None:
    with pytest.raises(StackError, match="no restore was interrupted"):
        undo(pair.databases)
    pair.second.run(
        "CREATE SCHEMA noetl_closed; COMMENT ON SCHEMA noetl_closed IS 'a restore of x';"
        "CREATE SCHEMA noetl_before; CREATE TABLE noetl_before.old ()"
    )

    assert "it is ended now" in undo(pair.databases)

    assert pair.ask(SCHEMAS) == ["noetl noetl_shown"] * 2
    assert pair.ask(HELD) == ["kept", "kept"]


def stopped_in_the_middle(
    pair: Pair, folder: Path, scratch: Path, *, number: signal.Signals
) -> str:
    """Signal a restore that fills the second shard; return its complaint when all has ended."""
    (scratch / "hang").touch()
    (scratch / "pid").unlink(missing_ok=True)
    with subprocess.Popen(
        [*command(), "restore", str(folder), "--replace"],
        env={**os.environ, **pair.databases.environment},
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        child = wait_for(
            lambda: int((scratch / "pid").read_text()) if (scratch / "pid").exists() else None
        )
        running.send_signal(number)
        _, complaint = running.communicate(timeout=PATIENCE_SECONDS)
    assert running.returncode == (1 if number == signal.SIGTERM else -number)
    wait_until(lambda: birth(child) is None, what="pg_restore has ended")
    (scratch / "hang").unlink()
    return complaint


async def half_a_restore_is_named(pair: Pair, scratch: Path) -> None:
    closed = "a restore of .*backup has not ended; repeat it, or take it back"
    findings = await look_at_database(
        Place(pair.first.address, 0, 2),
        newest_migration="0001",
        stuck_after=timedelta(minutes=1),
        roll=Roll(),
        demand={},
    )
    assert [one.code for one in findings] == ["database_closed"]
    for refused in (
        lambda: back_up(pair.databases, scratch / "other", seconds=60),
        lambda: send_again(pair.databases),
    ):
        with pytest.raises(StackError, match=f"is closed: {closed}"):
            await asyncio.to_thread(refused)
    async with asyncpg.create_pool(pair.first.dsn, min_size=1, max_size=1) as pool:
        with capture_logs() as logs:
            async with running(wait_for_schema(pool, "0001")):
                await eventually(lambda: logs, what="why the database is waited for is told")
    assert logs[0]["reason"].startswith("the database is closed: a restore of ")


def put_before(
    program: Program, script: str, *, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Have a program run lines of shell first, when it talks to a database."""
    real = binaries.postgres(program)
    path = folder / program
    path.write_text(
        f'#!/bin/sh\nif [ "$1" != --version ] && [ -n "$PGDATABASE" ]; then\n{script}\nfi\n'
        f'exec {real} "$@"\n'
    )
    path.chmod(0o755)
    if str(folder) not in os.environ["PATH"].split(":"):
        monkeypatch.setenv("PATH", str(folder), prepend=":")
