"""The pool, the statements, and the translation of the driver's errors."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from noetl_common.errors import Conflict, Permanent, Transient
from noetl_common.pg.errors import DatabaseUnavailable, DataConflict, DataRejected, translate
from noetl_common.pg.identity import WrongDatabase, check_identity
from noetl_common.pg.pool import DatabaseRefused, Pool, open_pool, raw_json, wait_for_schema
from noetl_common.pg.queries import Queries
from noetl_common.settings import PostgresSettings, ShardSettings
from noetl_testkit.postgres import Database, OwnPostgresServer
from pydantic import SecretStr


def settings_of(database: Database, **changes: object) -> PostgresSettings:
    known = {**database.settings, "postgres_pool_max": 2}
    return PostgresSettings.model_validate({**known, **changes})


@pytest.fixture
async def pool(empty_database: Database) -> AsyncIterator[Pool]:
    async with open_pool(settings_of(empty_database), name="test") as opened:
        yield opened


async def test_json_is_python_both_ways(pool: Pool) -> None:
    value = {"text": "ä", "list": [1, None, True], "big": 9_007_199_254_740_993}

    assert await pool.fetchval("SELECT $1::jsonb", value) == value
    assert await pool.fetchval("SELECT $1::json", value) == value
    assert await pool.fetchval("SELECT ($1::jsonb) ->> 'text'", value) == "ä"
    assert await pool.fetchval("SELECT 'null'::jsonb") is None


async def test_json_text_passes_as_it_is(pool: Pool) -> None:
    text = '{"a": 1.50}'

    assert await pool.fetchval("SELECT ($1::jsonb)::text", raw_json(text)) == text
    assert await pool.fetchval("SELECT (($1::text[])[1]::jsonb)::text", [text]) == text


async def test_times_are_utc(pool: Pool) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)

    assert await pool.fetchval("SELECT $1::timestamptz", moment) == moment
    assert await pool.fetchval("SELECT current_setting('TimeZone')") == "UTC"
    assert await pool.fetchval("SELECT current_setting('application_name')") == "test"


async def test_opening_waits_for_the_server(own_postgres: OwnPostgresServer) -> None:
    await asyncio.to_thread(own_postgres.kill)
    opened = asyncio.Event()

    async def use() -> object:
        async with open_pool(settings_of(own_postgres.maintenance), name="early") as pool:
            opened.set()
            return await pool.fetchval("SELECT 1")

    using = asyncio.create_task(use())
    await asyncio.sleep(0.3)
    assert not opened.is_set()
    await asyncio.to_thread(own_postgres.start)

    assert await asyncio.wait_for(using, timeout=30) == 1


async def test_a_wrong_password_is_not_waited_for(
    own_postgres: OwnPostgresServer,
) -> None:
    wrong = settings_of(own_postgres.maintenance, postgres_password=SecretStr("wrong"))
    with pytest.raises(DatabaseRefused):
        async with asyncio.timeout(10), open_pool(wrong, name="test"):
            pass


async def test_the_pool_survives_a_kill_of_the_server(own_postgres: OwnPostgresServer) -> None:
    async with open_pool(settings_of(own_postgres.maintenance), name="test") as pool:
        await pool.fetchval("SELECT 1")
        await asyncio.to_thread(own_postgres.kill)
        with pytest.raises(DatabaseUnavailable):
            async with translate():
                await pool.fetchval("SELECT 1")
        await asyncio.to_thread(own_postgres.start)
        answer = None
        async with asyncio.timeout(20):
            while answer is None:
                try:
                    async with translate():
                        answer = await pool.fetchval("SELECT 1")
                except DatabaseUnavailable:
                    await asyncio.sleep(0.05)

    assert answer == 1


async def test_the_schema_is_waited_for(pool: Pool) -> None:
    waiting = asyncio.create_task(wait_for_schema(pool, "0002"))
    await pool.execute(
        "CREATE SCHEMA noetl; CREATE TABLE noetl.schema_migrations (version varchar PRIMARY KEY)"
    )
    await pool.execute("INSERT INTO noetl.schema_migrations VALUES ('0001')")
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await pool.execute("INSERT INTO noetl.schema_migrations VALUES ('0003')")

    await asyncio.wait_for(waiting, timeout=5)


async def test_a_migrated_database_has_its_schema(database: Database) -> None:
    async with open_pool(settings_of(database), name="test") as pool, asyncio.timeout(5):
        await wait_for_schema(pool, "0001")


@asynccontextmanager
async def table(pool: Pool) -> AsyncIterator[None]:
    await pool.execute("CREATE TABLE thing (id int PRIMARY KEY, name varchar(3) NOT NULL)")
    await pool.execute("INSERT INTO thing VALUES (1, 'a')")
    yield


@pytest.mark.parametrize(
    ("statement", "expected", "mark"),
    [
        ("INSERT INTO thing VALUES (1, 'b')", DataConflict, Conflict),
        ("INSERT INTO thing VALUES (2, NULL)", DataRejected, Permanent),
        ("INSERT INTO thing VALUES (2, 'long')", DataRejected, Permanent),
        ('SELECT \'{"a":"\\u0000"}\'::jsonb', DataRejected, Permanent),
        ("SELECT 1/0", DataRejected, Permanent),
        ("SELECT pg_terminate_backend(pg_backend_pid())", DatabaseUnavailable, Transient),
        ("SET statement_timeout = 50; SELECT pg_sleep(5)", DatabaseUnavailable, Transient),
    ],
)
async def test_driver_errors_become_ours(
    pool: Pool, statement: str, expected: type[Exception], mark: type[Exception]
) -> None:
    async with table(pool):
        with pytest.raises(expected) as caught:
            async with translate():
                await pool.execute(statement)

    assert isinstance(caught.value, mark)
    assert isinstance(caught.value.__cause__, asyncpg.PostgresError)


async def test_an_argument_the_driver_cannot_encode_is_bad_data(pool: Pool) -> None:
    with pytest.raises(DataRejected), translate():
        await pool.fetchval("SELECT $1::int", "no number")


async def test_two_transactions_that_collide_are_a_conflict(pool: Pool) -> None:
    async with table(pool), pool.acquire() as one, pool.acquire() as two:
        await one.execute("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT * FROM thing")
        await two.execute(
            "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT * FROM thing;"
            "INSERT INTO thing VALUES (2, 'b'); COMMIT"
        )
        with pytest.raises(DataConflict), translate():
            await one.execute("INSERT INTO thing VALUES (3, 'c'); COMMIT")
        await one.execute("ROLLBACK")


async def test_a_mistake_in_our_sql_stays_what_it_is(pool: Pool) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        async with translate():
            await pool.execute("SELECT * FROM nowhere")


async def test_a_closed_pool_is_an_outage(empty_database: Database) -> None:
    async with open_pool(settings_of(empty_database), name="test") as pool:
        pass
    with pytest.raises(DatabaseUnavailable):
        async with translate():
            await pool.fetchval("SELECT 1")


async def test_our_own_errors_pass() -> None:
    with pytest.raises(KeyError), translate():
        raise KeyError("x")


def test_statements_are_found_by_name() -> None:
    queries = Queries.parse(
        """-- A file of statements.

-- name: get_thing
-- Description, left out.
-- $1 id
SELECT name
FROM thing
-- a comment inside stays
WHERE id = $1;

-- name: count_things
SELECT count(*) FROM thing
"""
    )

    assert list(queries) == ["get_thing", "count_things"]
    assert queries["get_thing"] == (
        "SELECT name\nFROM thing\n-- a comment inside stays\nWHERE id = $1\n/* get_thing */"
    )


def test_an_unknown_statement_is_named() -> None:
    with pytest.raises(KeyError, match="get_thing"):
        Queries.parse("")["get_thing"]


@pytest.mark.parametrize(
    "text",
    ["SELECT 1", "-- name: a\n-- only words", "-- name: a\nSELECT 1\n-- name: a\nSELECT 2"],
)
def test_a_malformed_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(SQL before|the statement a is)"):
        Queries.parse(text)


def test_statements_are_read_from_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_store"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "queries.sql").write_text("-- name: one\nSELECT 1\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert Queries.load("some_store")["one"] == "SELECT 1\n/* one */"


async def test_s4_a_database_remembers_whose_it_is(database: Database) -> None:
    """The first to come says what it is; whoever means another one is told so."""
    async with open_pool(settings_of(database), name="test") as pool:
        second = ShardSettings(shard_count=2, shard_index=1)
        await check_identity(pool, second, shard=1)
        await check_identity(pool, second, shard=1)

        for settings, shard, text in [
            (second, 0, "shard 1 of 2 of cluster 'noetl', this process is for shard 0 of 2"),
            (second, None, "for the cluster-wide database beside the shards, 2"),
            (ShardSettings(shard_count=3), 1, "for shard 1 of 3"),
            (ShardSettings(shard_count=2, cluster_id="other"), 1, "of cluster 'other'"),
        ]:
            with pytest.raises(WrongDatabase, match=text):
                await check_identity(pool, settings, shard=shard)
