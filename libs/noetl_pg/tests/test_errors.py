"""The translation of the driver's errors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from noetl_common.errors import Conflict, Permanent, Transient
from noetl_pg.errors import DatabaseUnavailable, DataConflict, DataRejected, translate
from noetl_pg.pool import Pool, open_pool
from noetl_pg.settings import PostgresSettings
from noetl_testkit.postgres import Database


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
        with pytest.raises(expected) as caught, translate():
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
    with pytest.raises(asyncpg.UndefinedTableError), translate():
        await pool.execute("SELECT * FROM nowhere")


async def test_a_closed_pool_is_an_outage(empty_database: Database) -> None:
    async with open_pool(
        PostgresSettings.model_validate(empty_database.settings), name="test"
    ) as pool:
        pass
    with pytest.raises(DatabaseUnavailable), translate():
        await pool.fetchval("SELECT 1")


async def test_our_own_errors_pass() -> None:
    with pytest.raises(KeyError), translate():
        raise KeyError("x")
