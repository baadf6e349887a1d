"""Executions go into an archive and come back as they were; changes are found."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import httpx
import orjson
import pytest
from noetl.stack.errors import StackError
from noetl.stack.servers import sessions
from noetl_common.crypto.chain import Chain
from noetl_common.shards import DatabaseAddress
from noetl_contract.events import EventRow
from noetl_maintenance.archive import reading
from noetl_maintenance.archive.chains import Log, Verdict, checked_pages
from noetl_maintenance.archive.manifest import volumes
from noetl_maintenance.archive.place import Place
from noetl_maintenance.archive.tables import ARCHIVED
from noetl_maintenance.archive.writing import PROGRAM, Written, write
from noetl_pg.single import open_single
from noetl_pg.sql.queries import Queries
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

BASE = 380_000_000_000_000_000
IDS = [BASE + number for number in range(4)]
OLD = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 1, tzinfo=UTC)
AWKWARD = {
    "e": "",
    "n": None,
    "q": '"\\N",\n\t\x7f',
    "u": "ü\u2028\U0001f600",
    "x": 1e16,
    "z": -0.0,
}
REST = """
INSERT INTO noetl.execution_state (
    execution_id, catalog_id, path, version, position, status, ended_at, digest, digest_position
) VALUES ({id}, 1, 'p', 1, {events}, 'COMPLETED', '2026-01-02', {digest});
INSERT INTO noetl.command (command_id, event_id, execution_id, catalog_id, step_name, status, meta)
VALUES ({id}, {id}, {id}, 1, 's', 'COMPLETED', {awkward});
INSERT INTO noetl.result_store (result_id, execution_id, name, scope, data, bytes, sha256)
VALUES ({id}, {id}, 'r', 's', '{{"a": [1.50]}}', 1, '');
INSERT INTO noetl.execution (execution_id, catalog_id, path, status, position)
VALUES ({id}, 1, 'p', 'COMPLETED', {events});
INSERT INTO noetl.execution_step (execution_id, step, first_position, position)
VALUES ({id}, 's', 1, 1);
"""


def literal(value: object) -> str:
    """Return a value as SQL."""
    if value is None:
        return "NULL"
    if isinstance(value, dict):
        value = orjson.dumps(value).decode()
    return "'" + str(value).replace("'", "''") + "'"


def add(
    database: Database, execution_id: int, *, events: int = 3, with_digest: bool = True
) -> None:
    """Add an execution that has ended, with all rows that one has."""
    chain = Chain()
    script = ""
    for position in range(1, events + 1):
        row = EventRow(
            execution_id=execution_id,
            position=position,
            event_id=execution_id + position,
            event_type="call.done",
            created_at=datetime(2026, 1, 1, 0, 0, position, 123456, UTC),
            catalog_id=1,
            node_name="" if position == 1 else "s\n\"',",
            context=AWKWARD,
            error=None if position == 1 else "",
        )
        chain.extend([row])
        values = {name: value for name, value in asdict(row).items() if value is not None} | {
            "created_at": row.created_at.replace(tzinfo=None)
        }
        texts = ", ".join(map(literal, values.values()))
        script += f"INSERT INTO noetl.event ({', '.join(values)}) VALUES ({texts});\n"
    digest = f"'\\x{chain.digest.hex()}', {chain.position}" if with_digest else "NULL, NULL"
    script += REST.format(id=execution_id, events=events, digest=digest, awkward=literal(AWKWARD))
    database.run(script)


def everything(database: Database) -> dict[str, str]:
    """Return all rows of archived tables, without the mark of the archive."""
    return {
        table: database.run(
            f"SELECT to_jsonb(t) - 'archived_position' - 'digest' - 'digest_position'"
            f" FROM noetl.{table} AS t ORDER BY execution_id, to_jsonb(t)::TEXT"
        )
        for table in ARCHIVED
    }


@pytest.fixture
def address(database: Database) -> DatabaseAddress:
    return database.address


def written(address: DatabaseAddress, place: Place, *, ended_before: datetime = NOW) -> Written:
    return write([address], place, ended_before=ended_before, say=lambda _: None)


def verdicts(address: DatabaseAddress) -> dict[int, Verdict]:
    async def read() -> list[Log]:
        queries = Queries.load("noetl_maintenance.archive")
        async with (
            open_single(address.dsn, queries, name="test", seconds=30) as database,
            database.acquire() as session,
        ):
            return [log async for logs in checked_pages(session, [], page=3) for log in logs]

    return {log.execution_id: log.verdict for log in asyncio.run(read())}


def test_there_and_back(database: Database, address: DatabaseAddress, tmp_path: Path) -> None:
    for number, one in enumerate(IDS):
        add(database, one, with_digest=number > 0)
    before = everything(database)
    place = Place.at(str(tmp_path / "archive"), make=True)
    assert written(address, place, ended_before=OLD).executions == 0
    first = written(address, place)
    assert (first.executions, first.events, first.volumes, first.broken) == (4, 12, 1, [])
    assert written(address, place).executions == 0
    proof = reading.prove(place)
    assert (proof.executions, proof.events, proof.problems) == (4, 12, [])
    (volume,) = volumes(place)
    assert volume.read(place).without_digest == 1

    reading.detach([address], IDS)
    assert set(everything(database).values()) == {""}
    with pytest.raises(StackError, match="has no execution"):
        reading.detach([address], IDS[:1])
    reading.attach([address], place, IDS)
    assert everything(database) == before
    assert set(verdicts(address).values()) == {Verdict.WHOLE}
    with pytest.raises(StackError, match=f"has execution {IDS[1]}"):
        reading.attach([address], place, IDS[1:2])
    with pytest.raises(StackError, match=f"has no execution {BASE - 1}"):
        reading.attach([address], place, [BASE - 1])


def test_what_moved_goes_in_again_and_comes_back_as_it_was_last(
    database: Database, address: DatabaseAddress, tmp_path: Path
) -> None:
    add(database, IDS[0])
    place = Place.at(str(tmp_path), make=True)
    assert written(address, place).executions == 1
    database.run(
        "INSERT INTO noetl.event (execution_id, catalog_id, event_id, event_type, position)"
        f" VALUES ({IDS[0]}, 1, 9, 'late', 4)"
    )
    database.run("UPDATE noetl.execution_state SET position = 4")
    with pytest.raises(StackError, match="no archive has execution"):
        reading.detach([address], IDS[:1])
    assert verdicts(address) == {IDS[0]: Verdict.PARTLY}
    assert written(address, place).events == 4
    reading.detach([address], IDS[:1])
    reading.attach([address], place, IDS[:1])
    assert database.run("SELECT max(position) FROM noetl.event").strip() == "4"


def test_a_bucket_is_as_good_as_a_folder(
    database: Database, address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 -- 0.3 s of each process of a run

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        for name, value in {
            "AWS_ACCESS_KEY_ID": "k",
            "AWS_SECRET_ACCESS_KEY": "s",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": url,
        }.items():
            monkeypatch.setenv(name, value)
        httpx.put(f"{url}/archives").raise_for_status()
        add(database, IDS[0])
        before = everything(database)
        place = Place.at("s3://archives/noetl")
        assert written(address, place).executions == 1
        assert reading.prove(place).problems == []
        reading.detach([address], IDS[:1])
        reading.attach([address], place, IDS[:1])
        assert everything(database) == before
        with pytest.raises(StackError, match="s3://elsewhere"):
            reading.prove(Place.at("s3://elsewhere"))
    finally:
        server.stop()


def test_what_lies_between_executions_that_moved_stays_in_the_archive(
    database: Database, address: DatabaseAddress, tmp_path: Path
) -> None:
    """The second volume has the ends of the first, and not the executions between them."""
    for one in IDS[:3]:
        add(database, one)
    place = Place.at(str(tmp_path))
    written(address, place)
    ends = f"IN ({IDS[0]}, {IDS[2]})"
    database.run(
        "INSERT INTO noetl.event (execution_id, catalog_id, event_id, event_type, position)"
        f" SELECT execution_id, 1, 9, 'late', 4 FROM noetl.execution_state"
        f" WHERE execution_id {ends};"
        f" UPDATE noetl.execution_state SET position = 4 WHERE execution_id {ends}"
    )
    assert written(address, place).executions == 2
    assert reading.prove(place).problems == []
    before = everything(database)
    reading.detach([address], IDS[:3])
    reading.attach([address], place, IDS[:3])
    assert everything(database) == before


class Killed(BaseException):
    pass


@pytest.mark.parametrize("ending", ["event.parquet", "failure.parquet", "manifest.json"])
def test_a_kill_leaves_nothing_that_counts_and_the_next_call_goes_on(
    database: Database,
    address: DatabaseAddress,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
) -> None:
    add(database, IDS[0])
    place = Place.at(str(tmp_path))
    put = Place.put

    def killed_after(self: Place, name: str, content: bytes | Path) -> None:
        put(self, name, content)
        if name.endswith(ending):
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Place, "put", killed_after)
        with pytest.raises(Killed):
            written(address, place)
    marked = "SELECT count(*) FROM noetl.execution_state WHERE archived_position IS NOT NULL"
    assert database.run(marked).strip() == "0"
    assert written(address, place).executions == 1
    assert reading.prove(place).problems == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE noetl.event SET context = jsonb_set(context, '{u}', '\"U\"') WHERE position = 2",
        "UPDATE noetl.event SET created_at = created_at + interval '1 us' WHERE position = 1",
        "DELETE FROM noetl.event WHERE position = 3",
        "DELETE FROM noetl.event WHERE position = 2",
        "UPDATE noetl.execution_state SET digest = set_byte(digest, 0, get_byte(digest, 0) # 1)",
    ],
)
def test_a_changed_log_is_found_and_not_archived(
    database: Database, address: DatabaseAddress, tmp_path: Path, change: str
) -> None:
    add(database, IDS[0])
    assert verdicts(address) == {IDS[0]: Verdict.WHOLE}
    database.run(change)
    add(database, IDS[1])
    assert verdicts(address) == {IDS[0]: Verdict.BROKEN, IDS[1]: Verdict.WHOLE}
    done = written(address, Place.at(str(tmp_path)))
    assert (done.executions, done.broken) == (1, [IDS[0]])


def test_one_flipped_bit_of_any_file_is_found(
    database: Database, address: DatabaseAddress, tmp_path: Path
) -> None:
    add(database, IDS[0])
    place = Place.at(str(tmp_path))
    written(address, place)
    files = sorted(tmp_path.rglob("*.parquet"))
    assert len(files) == len(ARCHIVED)
    for file in files:
        with flipped(file):
            (problem,) = reading.prove(place).problems
            assert file.name in problem
            assert "damaged" in problem
    assert reading.prove(place).problems == []


@contextmanager
def flipped(file: Path) -> Iterator[None]:
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    yield
    file.write_bytes(whole)


def test_an_event_that_was_changed_in_the_archive_is_found(
    database: Database, address: DatabaseAddress, tmp_path: Path
) -> None:
    """Also when the manifest is written anew: the digest of the log is another."""
    add(database, IDS[0])
    place = Place.at(str(tmp_path / "archive"), make=True)
    written(address, place)
    (volume,) = volumes(place)
    manifest = volume.read(place)
    database.run("UPDATE noetl.event SET error = 'x' WHERE position = 2")
    database.run("UPDATE noetl.execution_state SET archived_position = NULL, digest = NULL")
    other = tmp_path / "other"
    written(address, Place.at(str(other), make=True))
    (forged,) = other.rglob("event.parquet")
    place.put(f"{volume.folder}event.parquet", forged)
    table = manifest.tables["event"]
    (there,) = volumes(Place.at(str(other)))
    theirs = there.read(Place.at(str(other))).tables["event"]
    manifest.tables["event"] = table.model_copy(
        update={"sha256": theirs.sha256, "size": theirs.size}
    )
    place.put(f"{volume.folder}manifest.json", manifest.model_dump_json().encode())
    problems = reading.prove(place).problems
    assert any(f"execution {IDS[0]} is broken" in problem for problem in problems)
    reading.detach([address], IDS[:1])
    with pytest.raises(StackError, match="is broken in the archive"):
        reading.attach([address], place, IDS[:1])


@asynccontextmanager
async def locked(address: DatabaseAddress) -> AsyncIterator[None]:
    """Hold the lock of another archive that is being written."""
    queries = Queries.load("noetl_maintenance.archive")
    async with (
        open_single(address.dsn, queries, name="test", seconds=PATIENCE_SECONDS) as first,
        first.acquire() as session,
    ):
        assert await session.fetchval("try_lock")
        yield


async def test_two_archives_of_a_database_are_not_written_at_once(
    database: Database, address: DatabaseAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "LEAVING_SECONDS", 0.0)
    add(database, IDS[0])
    async with locked(address):
        with pytest.raises(StackError, match="another archive is being written"):
            await asyncio.to_thread(written, address, Place.at(str(tmp_path)))
    monkeypatch.setattr(sessions, "LEAVING_SECONDS", PATIENCE_SECONDS)
    assert (await asyncio.to_thread(written, address, Place.at(str(tmp_path)))).executions == 1


async def test_an_archive_whose_end_the_server_has_yet_to_see_is_waited_for(
    database: Database, address: DatabaseAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "LEAVING_SECONDS", PATIENCE_SECONDS)
    add(database, IDS[0])
    asked = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_try_advisory_lock%'"
    others = f"{asked} AND application_name = '{PROGRAM}' AND state = 'idle'"
    async with locked(address):
        writing = asyncio.create_task(asyncio.to_thread(written, address, Place.at(str(tmp_path))))
        await eventually(
            lambda: writing.done() or database.run(others) == "1", what="it has asked for the lock"
        )
        assert not writing.done()

    assert (await writing).executions == 1
