"""Named statements on a real database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from noetl_pg.database import Connection, Database, Session
from noetl_pg.errors import DatabaseUnavailable, DataConflict, DataRejected
from noetl_pg.pool import Pool
from noetl_pg.sql.queries import Queries
from noetl_testkit.waiting import eventually

RESTING = """
SELECT count(*) = 1 FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()
"""
STATEMENTS = """
-- name: make
CREATE TABLE thing (id int PRIMARY KEY, name text NOT NULL);

-- name: add
INSERT INTO thing VALUES ($1, $2);

-- name: list_all
SELECT id, name FROM thing ORDER BY id;

-- name: find
SELECT name, id FROM thing WHERE id = $1;

-- name: rest
SELECT pg_sleep(600);

-- name: mistake
SELECT * FROM nowhere;

-- name: who
SELECT pg_backend_pid() AS pid;
"""


@pytest.fixture
async def database(pool: Pool) -> Database:
    made = Database(pool, Queries.parse(STATEMENTS))
    await made.execute("make")
    return made


async def add_both(at: Database | Session) -> None:
    """Add two things in a transaction; the second is there already."""
    async with at.transaction() as session:
        await session.execute("add", 2, "b")
        await session.execute("add", 1, "a")


async def test_statements_run_by_name(database: Database) -> None:
    assert await database.execute("add", 2, "b") == "INSERT 0 1"
    await database.execute("add", 1, "a")

    assert [tuple(row) for row in await database.fetch("list_all")] == [(1, "a"), (2, "b")]
    assert await database.fetchval("find", 1) == "a"
    assert await database.fetchval("find", 3) is None
    assert (await database.fetchone("find", 2))["id"] == 2
    assert await database.fetchrow("find", 3) is None


async def test_a_row_that_must_be_there_is_a_mistake_when_it_is_not(database: Database) -> None:
    with pytest.raises(RuntimeError, match="find"):
        await database.fetchone("find", 3)


async def test_an_unknown_name_is_a_mistake(database: Database) -> None:
    with pytest.raises(KeyError, match="nothing"):
        await database.fetch("nothing")
    with pytest.raises(asyncpg.UndefinedTableError):
        await database.fetch("mistake")


@pytest.mark.parametrize("method", ["fetch", "fetchrow", "fetchone", "fetchval", "execute"])
async def test_every_method_raises_our_errors(database: Database, method: str) -> None:
    await database.execute("add", 1, "a")

    with pytest.raises(DataConflict) as caught:
        await getattr(database, method)("add", 1, "a")
    assert isinstance(caught.value.__cause__, asyncpg.UniqueViolationError)
    with pytest.raises(DataRejected):
        await getattr(database, method)("add", 2, None)
    with pytest.raises(DatabaseUnavailable):
        await getattr(database, method)("rest", timeout_seconds=0.05)
    async with database.acquire() as session:
        with pytest.raises(DataConflict):
            await getattr(session, method)("add", 1, "a")


async def test_a_transaction_is_kept_whole_or_not_at_all(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute("add", 1, "a")
        assert await database.fetchval("find", 1) is None
        assert await session.fetchval("find", 1) == "a"
    with pytest.raises(DataConflict):
        await add_both(database)

    assert [row["id"] for row in await database.fetch("list_all")] == [1]


async def test_a_failure_at_the_commit_is_ours_too(database: Database, pool: Pool) -> None:
    await pool.execute(
        "ALTER TABLE thing ADD CONSTRAINT once UNIQUE (name) DEFERRABLE INITIALLY DEFERRED"
    )
    await database.execute("add", 1, "a")

    with pytest.raises(DataConflict):
        async with database.transaction() as session:
            await session.execute("add", 2, "a")


async def test_a_session_has_transactions_and_savepoints(database: Database) -> None:
    async with database.acquire() as session:
        async with session.transaction():
            await session.execute("add", 1, "a")
            with pytest.raises(DataConflict):
                await add_both(session)
        await session.execute("add", 3, "c")
        first, second = await session.fetchval("who"), await session.fetchval("who")

    assert first == second
    assert [row["id"] for row in await database.fetch("list_all")] == [1, 3]


async def test_statements_that_the_server_composed_run_as_text(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute_text("SET LOCAL lock_timeout = '2s'")
        await session.execute("add", 1, "a")
    with pytest.raises(DataConflict):
        await database.execute_text("INSERT INTO thing VALUES (1, 'a')")


async def test_a_server_that_is_away_is_told_when_a_connection_is_lent(
    database: Database, pool: Pool
) -> None:
    await pool.close()
    with pytest.raises(DatabaseUnavailable):
        await database.fetch("list_all")
    with pytest.raises(DatabaseUnavailable):
        async with database.transaction():
            pass


async def test_cancelling_a_statement_stays_a_cancellation(database: Database, pool: Pool) -> None:
    running = asyncio.create_task(database.fetch("rest"))
    await eventually(lambda: pool.fetchval(RESTING))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_connections_may_come_from_a_lender(pool: Pool) -> None:
    lent = 0

    @asynccontextmanager
    async def borrow() -> AsyncIterator[Connection]:
        nonlocal lent
        lent += 1
        yield kept

    async with pool.acquire() as kept:
        database = Database(pool, Queries.parse(STATEMENTS), borrow=borrow)
        await database.execute("make")
        await database.execute("add", 1, "a")
        async with database.transaction() as session:
            assert await session.fetchval("find", 1) == "a"
        assert await database.fetchval("who") == await kept.fetchval("SELECT pg_backend_pid()")
        with pytest.raises(DataConflict):
            await database.fetch("add", 1, "a")

    assert lent == 5


async def test_a_store_brings_its_statements(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "a_store"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "queries.sql").write_text("-- name: one\nSELECT 1\n")
    (package / "more.sql").write_text("-- name: two\nSELECT 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    database = Database(pool)

    assert await database.with_statements("a_store").fetchval("one") == 1
    assert await database.with_statements("a_store", "queries.sql", "more.sql").fetchval("two") == 2
    with pytest.raises(KeyError):
        await database.fetchval("one")


async def test_readiness_asks_only_if_nothing_was_answered_lately(
    database: Database, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes: list[str] = []
    run = Database.execute_text

    async def noting(self: Database, statement: str) -> str:
        probes.append(statement)
        return await run(self, statement)

    monkeypatch.setattr(Database, "execute_text", noting)
    store = database.with_statements("noetl_pg.sql", "lists.sql")
    assert await store.is_reachable()
    assert probes == []

    # The server ends all connections, as a stopping server does.
    async with pool.acquire() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid != pg_backend_pid()"
        )
        connection.terminate()
    await eventually(lambda: pool.get_size() == 0)
    assert await store.is_reachable()
    assert len(probes) == 1
    assert await Database(pool).is_reachable()
    assert len(probes) == 2
