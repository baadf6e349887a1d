"""A backup and a restore on a real server, and everything that is refused."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from asyncpg import Record
from noetl.backup.dump import back_up
from noetl.backup.manifest import NAME
from noetl.backup.parts import open_part
from noetl.backup.restore import PROGRAM, Restored, restore, send_again
from noetl.stack.errors import StackError
from noetl.stack.servers import binaries, migrations, sessions
from noetl.stack.servers.databases import Databases, single_database
from noetl_testkit.postgres import Database, OwnPostgresServer
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

# Two messages to executions, a commit's row, and a command's.
FILLED = """
INSERT INTO noetl.outbox (execution_id, event_id, kind, message_id, status, stream_sequence)
VALUES
    (1, 1, 'message', 'a:1:1:r3', 'PUBLISHED', 7), (1, 2, 'message', NULL, 'PENDING', NULL),
    (1, 3, 'commit', 'l:1:3', 'PUBLISHED', 8), (1, 4, 'message', 'a:1:4', 'PARKED', NULL);
"""
ROWS = """
SELECT kind, status, regexp_replace(message_id, 'r[0-9]{10}$', 'r<now>'), stream_sequence
FROM noetl.outbox ORDER BY event_id
"""


def databases_at(database: Database) -> Databases:
    return single_database(database.address)


def test_what_was_backed_up_is_there_again(
    own_postgres: OwnPostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "LEAVING_SECONDS", PATIENCE_SECONDS)
    source, folder = own_postgres.at("source"), tmp_path / "backup"
    empty = databases_at(own_postgres.maintenance)
    with pytest.raises(
        StackError, match=r"shard_0 \(noetl@127.0.0.1:.*/postgres\): .*lacks a table"
    ):
        back_up(empty, folder, seconds=60)
    assert list(tmp_path.glob("backup*")) == []
    migrations.migrate(source.dsn)
    source.run(FILLED)

    manifest = back_up(databases_at(source), folder, seconds=60)

    assert list(manifest.dumps) == ["shard_0"]
    assert (folder / "shard_0.dump").stat().st_mode & 0o077 == 0
    refused_before_a_restore(databases_at(source), folder)

    target = own_postgres.at("target")  # is made
    done = restore(databases_at(target), folder, seconds=60)

    assert done == Restored(running=0, messages=2)
    assert target.run(ROWS).splitlines() == [
        "message|PENDING|a:1:1:r<now>|",
        "message|PENDING|m:1:2:r<now>|",
        "commit|PUBLISHED|l:1:3|8",
        "message|PARKED|a:1:4|",
    ]
    # The rights of the services, whose roles this server didn't have.
    assert target.run("SELECT has_table_privilege('noetl_outbox', 'noetl.outbox', 'DELETE')") == "t"
    owner = "SELECT relowner::REGROLE FROM pg_class WHERE oid = 'noetl.event'::REGCLASS"
    assert target.run(owner) == "noetl_orchestrator"
    assert migrations.migrate(target.dsn).strip() == ""

    with monkeypatch.context() as patch:
        patch.setattr(sessions, "LEAVING_SECONDS", 0.0)
        in_use_or_filled(databases_at(target), target, folder)
    assert restore(databases_at(target), folder, replace=True, seconds=60).messages == 2
    assert send_again(databases_at(target)).messages == 2


def refused_before_a_restore(databases: Databases, folder: Path) -> None:
    with pytest.raises(StackError, match="exists already"):
        back_up(databases, folder, seconds=60)
    two = replace(databases, shards=databases.shards * 2)
    with pytest.raises(StackError, match="the backup holds shard_0, this installation has"):
        restore(two, folder, seconds=60)

    manifest = folder / NAME
    text = manifest.read_text()
    newer = json.loads(text)
    newer["dumps"]["shard_0"]["migration"] = "9999"
    manifest.write_text(json.dumps(newer))
    with pytest.raises(StackError, match="with migration 9999, this release ends at"):
        restore(databases, folder, seconds=60)
    newer["dumps"]["shard_0"]["file"] = "../elsewhere.dump"
    manifest.write_text(json.dumps(newer))
    with pytest.raises(StackError, match=r"dumps\.shard_0\.file"):
        restore(databases, folder, seconds=60)
    manifest.write_text(text)

    dump = folder / "shard_0.dump"
    whole = dump.read_bytes()
    dump.write_bytes(whole[:-1])
    with pytest.raises(StackError, match=r"shard_0\.dump is damaged"):
        restore(databases, folder, seconds=60)
    dump.write_bytes(whole)
    with pytest.raises(StackError, match="is no backup"):
        restore(databases, folder.parent, seconds=60)


@contextmanager
def session_of(program: str, database: Database) -> Iterator[None]:
    """Be connected as a program."""
    with subprocess.Popen(
        [str(binaries.postgres("psql")), "-XqAt", database.dsn],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PGAPPNAME": program},
    ) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write("SELECT 1;\n")
        session.stdin.flush()
        assert session.stdout.readline() == "1\n"
        yield
        session.stdin.close()


@pytest.mark.parametrize("program", [PROGRAM, "noetl-orchestrator"])
async def test_a_session_that_ends_meanwhile_is_waited_for(
    own_postgres: OwnPostgresServer, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """The server learns of a client's end a moment later, that of our own last one too."""
    monkeypatch.setattr(sessions, "LEAVING_SECONDS", PATIENCE_SECONDS)
    address = own_postgres.maintenance.address
    looks: list[str] = []

    async with open_part(address, name=PROGRAM, seconds=PATIENCE_SECONDS) as database:
        fetch = database.fetch_text

        async def counted(statement: str) -> list[Record]:
            looks.append(statement)
            return await fetch(statement)

        monkeypatch.setattr(database, "fetch_text", counted)
        with session_of(program, own_postgres.maintenance):
            looking = asyncio.create_task(sessions.sessions_left(database))
            await eventually(lambda: len(looks) > 2, what="it was seen")
            assert not looking.done()
        left = await looking

    assert left is None


def in_use_or_filled(databases: Databases, database: Database, folder: Path) -> None:
    with pytest.raises(StackError, match="has a schema noetl already"):
        restore(databases, folder, seconds=60)
    with session_of("noetl-orchestrator", database):
        for act in (
            lambda: restore(databases, folder, replace=True, seconds=60),
            lambda: send_again(databases),
        ):
            with pytest.raises(
                StackError, match=r"is in use \(.*1 of noetl-orchestrator.*\): stop every"
            ):
                act()
