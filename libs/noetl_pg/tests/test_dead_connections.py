"""Connections to the database that die without a word, and statements that only take long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from noetl_pg.database import Database as Statements
from noetl_pg.errors import DatabaseUnavailable
from noetl_pg.pool import Pool, lent, open_pool
from noetl_pg.settings import PostgresSettings
from noetl_testkit.lines import Line, line_to
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import eventually, unless_it_hangs

_NEVER = 3600.0


@asynccontextmanager
async def pool_over_a_line(database: Database, most: int = 3) -> AsyncIterator[tuple[Pool, Line]]:
    """Open a pool over a line; its own timeout of statements is of no help."""
    async with line_to(database.address.port) as line:
        settings = PostgresSettings.model_validate(
            {
                **database.settings,
                "postgres_port": line.port,
                "postgres_pool_max": most,
                "postgres_command_timeout_seconds": _NEVER,
            }
        )
        async with open_pool(settings, name="dead") as pool:
            yield pool, line


async def fill(pool: Pool, number: int) -> None:
    """Have so many connections."""
    connections = [await pool.acquire() for _ in range(number)]
    for connection in connections:
        await pool.release(connection)


async def test_a_statement_on_a_connection_that_died_fails_and_the_next_are_answered(
    empty_database: Database,
) -> None:
    """The other connections died at the same time: none of them has to be found out by itself."""
    async with pool_over_a_line(empty_database) as (pool, line):
        statements = Statements(pool)
        await fill(pool, 3)

        line.cut()
        async with unless_it_hangs():
            with pytest.raises(DatabaseUnavailable):
                await statements.execute_text("SELECT 1")
            after = await asyncio.gather(*(statements.execute_text("SELECT 1") for _ in range(3)))

        assert after == ["SELECT 1"] * 3


@pytest.mark.parametrize("script", ["BEGIN", "SELECT $1::int"])
async def test_a_lost_answer_is_noticed_as_a_lost_statement_is(
    empty_database: Database, script: str
) -> None:
    """The server has ended the statement; in a transaction and outside."""
    async with pool_over_a_line(empty_database) as (pool, line), lent(pool) as connection:
        line.cut(only_answers=True)
        arguments = [1] if "$1" in script else []
        async with unless_it_hangs():
            with pytest.raises(Exception, match="connection was closed"):
                await connection.execute(script, *arguments)


async def test_a_statement_that_takes_long_is_left_alone(empty_database: Database) -> None:
    async with pool_over_a_line(empty_database) as (pool, line), lent(pool) as holder:
        await holder.execute("SELECT pg_advisory_lock(1)")
        long = asyncio.create_task(pool.fetchval("SELECT 7 FROM pg_advisory_lock($1)", 1))
        await eventually(lambda: pool.get_size() == 2)
        made = line.made
        await eventually(lambda: line.made >= made + 3)  # the server was asked twice at least

        await holder.execute("SELECT pg_advisory_unlock(1)")
        async with unless_it_hangs():
            assert await long == 7


async def test_a_server_that_nobody_reaches_keeps_its_connections(
    empty_database: Database,
) -> None:
    """Whether a statement is lost is not known then."""
    async with pool_over_a_line(empty_database) as (pool, line), lent(pool) as holder:
        await holder.execute("SELECT pg_advisory_lock(1)")
        waiting = asyncio.create_task(pool.fetchval("SELECT 7 FROM pg_advisory_lock($1)", 1))
        await eventually(lambda: pool.get_size() == 2)
        line.is_open = False
        made = line.made
        await eventually(lambda: line.made >= made + 2)

        await holder.execute("SELECT pg_advisory_unlock(1)")
        async with unless_it_hangs():
            assert await waiting == 7


async def test_a_statement_that_is_still_sent_is_left_alone(empty_database: Database) -> None:
    """The server is at rest meanwhile, as it has not read all of it."""
    async with pool_over_a_line(empty_database) as (pool, line), lent(pool) as connection:
        await connection.fetchval("SELECT length($1::text)", "")
        line.bytes_a_second = 1 << 20
        sent = asyncio.create_task(connection.fetchval("SELECT length($1::text)", "x" * (6 << 20)))
        async with unless_it_hangs():
            assert await sent == 6 << 20
