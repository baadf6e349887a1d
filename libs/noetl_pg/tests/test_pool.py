"""The pool: its values, and its waits for server and schema."""

import asyncio
from collections import deque
from collections.abc import Collection
from datetime import UTC, datetime

import asyncpg
import noetl_pg.pool
import pytest
from asyncpg.protocol import protocol
from noetl_pg.errors import DatabaseUnavailable, translate
from noetl_pg.pool import (
    DatabaseRefused,
    Pool,
    PooledConnection,
    borrowed,
    open_pool,
    wait_for_schema,
)
from noetl_pg.settings import PostgresSettings
from noetl_testkit.ports import turning_away
from noetl_testkit.postgres import Database, OwnPostgresServer
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually, unless_it_hangs
from prometheus_client import REGISTRY
from pydantic import SecretStr


def settings_of(database: Database, **changes: object) -> PostgresSettings:
    known = {**database.settings, "postgres_pool_max": 2}
    return PostgresSettings.model_validate({**known, **changes})


async def test_json_is_python_both_ways(pool: Pool) -> None:
    value = {"text": "ä", "list": [1, None, True], "big": 9_007_199_254_740_993}

    assert await pool.fetchval("SELECT $1::jsonb", value) == value
    assert await pool.fetchval("SELECT $1::json", value) == value
    assert await pool.fetchval("SELECT ($1::jsonb) ->> 'text'", value) == "ä"
    assert await pool.fetchval("SELECT 'null'::jsonb") is None


async def test_connections_at_work_are_counted(database: Database) -> None:
    def shown(what: str) -> float | None:
        return REGISTRY.get_sample_value(f"noetl_db_connections_{what}", {"pool": "counted"})

    async with open_pool(settings_of(database), name="counted") as pool:
        assert (shown("used"), shown("max")) == (0, 2)
        async with borrowed(pool):
            assert shown("used") == 1
    assert shown("used") == 0


async def test_json_text_passes_as_it_is(pool: Pool) -> None:
    text = '{"a": 1.50}'

    assert await pool.fetchval("SELECT (($1::text[])[1]::jsonb)::text", [text]) == text


async def test_times_are_utc(pool: Pool) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)

    assert await pool.fetchval("SELECT $1::timestamptz", moment) == moment
    assert await pool.fetchval("SELECT current_setting('TimeZone')") == "UTC"
    assert await pool.fetchval("SELECT current_setting('application_name')") == "test"


async def test_a_connection_whose_statement_failed_is_good_again(database: Database) -> None:
    async def time_out(connection: PooledConnection) -> None:
        await connection.execute("SET application_name = 'left behind'")
        await connection.fetchval("SELECT pg_sleep(30)", timeout=0.05)

    async def leave_a_transaction(connection: PooledConnection) -> None:
        await connection.execute("BEGIN")
        await connection.execute("nonsense")

    async def end(connection: PooledConnection) -> None:
        await connection.close()
        raise ConnectionError

    async with open_pool(settings_of(database, postgres_pool_max=1), name="one") as pool:
        for fail in (time_out, leave_a_transaction, end):
            with pytest.raises((TimeoutError, asyncpg.PostgresError, ConnectionError)):
                async with borrowed(pool) as connection:
                    await fail(connection)

            name = await pool.fetchval("SELECT current_setting('application_name')")
            assert name == "one"
            assert await pool.fetchval("SELECT now()") != await pool.fetchval("SELECT now()")


async def test_opening_waits_for_the_server(own_postgres: OwnPostgresServer) -> None:
    await asyncio.to_thread(own_postgres.kill)
    opened = asyncio.Event()

    async def use() -> object:
        async with open_pool(settings_of(own_postgres.maintenance), name="early") as pool:
            opened.set()
            return await pool.fetchval("SELECT 1")

    async with turning_away(own_postgres.instance.port) as tried:
        using = asyncio.create_task(use())
        await tried.wait()
    assert not opened.is_set()
    await asyncio.to_thread(own_postgres.start)

    assert await asyncio.wait_for(using, timeout=PATIENCE_SECONDS) == 1


async def test_a_wrong_password_is_not_waited_for(
    own_postgres: OwnPostgresServer,
) -> None:
    wrong = settings_of(own_postgres.maintenance, postgres_password=SecretStr("wrong"))
    with pytest.raises(DatabaseRefused):
        async with unless_it_hangs(), open_pool(wrong, name="test"):
            pass


async def test_the_pool_survives_a_kill_of_the_server(own_postgres: OwnPostgresServer) -> None:
    async with open_pool(settings_of(own_postgres.maintenance), name="test") as pool:
        await pool.fetchval("SELECT 1")
        await asyncio.to_thread(own_postgres.kill)
        with pytest.raises(DatabaseUnavailable), translate():
            await pool.fetchval("SELECT 1")
        await asyncio.to_thread(own_postgres.start)

        async def answers() -> bool:
            try:
                with translate():
                    return bool(await pool.fetchval("SELECT 1") == 1)
            except DatabaseUnavailable:
                return False

        await eventually(answers, what="the pool is of use again")


async def test_the_schema_is_waited_for(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str | None] = []

    async def look(pool: Pool, minimum: str) -> str | None:
        found.append(await reason_to_wait(pool, minimum))
        return found[-1]

    reason_to_wait = noetl_pg.pool._reason_to_wait
    monkeypatch.setattr(noetl_pg.pool, "_reason_to_wait", look)
    waiting = asyncio.create_task(wait_for_schema(pool, "0002"))
    await pool.execute(
        "CREATE SCHEMA noetl; CREATE TABLE noetl.schema_migrations (version varchar PRIMARY KEY)"
    )
    await pool.execute("INSERT INTO noetl.schema_migrations VALUES ('0001')")
    looks = len(found)
    await eventually(lambda: len(found) > looks + 1)
    assert not waiting.done()
    await pool.execute("INSERT INTO noetl.schema_migrations VALUES ('0003')")

    await asyncio.wait_for(waiting, timeout=PATIENCE_SECONDS)


async def test_a_migrated_database_has_its_schema(database: Database) -> None:
    async with open_pool(settings_of(database), name="test") as pool, unless_it_hangs():
        await wait_for_schema(pool, "0001")


@pytest.mark.parametrize(
    "value",
    [
        [1, None, 2],
        (1, 2),
        {1},
        frozenset({1}),
        deque([1, 2]),
        range(2),
        {1: 2}.keys(),
        {1: 2}.values(),
    ],
)
async def test_arrays_are_given_as_any_collection(pool: Pool, value: Collection[int]) -> None:
    assert await pool.fetchval("SELECT $1::bigint[]", value) == list(value)


async def test_arrays_hold_texts_arrays_and_bytes(pool: Pool) -> None:
    assert await pool.fetchval("SELECT $1::text[]", ("ab", None, "")) == ["ab", None, ""]
    assert await pool.fetchval("SELECT $1::bytea[]", [b"ab", b""]) == [b"ab", b""]
    assert await pool.fetchval("SELECT $1::int[]", [[1, 2], (3, 4)][:1]) == [[1, 2]]
    for wrong in ("ab", {"a": 1}, iter([1])):
        with pytest.raises(asyncpg.DataError, match="a sized iterable container expected"):
            await pool.fetchval("SELECT $1::text[]", wrong)


def asked_classes() -> list[bool]:
    """Return whether the driver checks arrays and their length against concrete classes."""
    return [list in _tuple(getattr(protocol, name)) for name in ("IterableABC", "SizedABC")]


def _tuple(classes: object) -> tuple[object, ...]:
    return classes if isinstance(classes, tuple) else (classes,)


async def test_the_driver_asks_concrete_classes_unless_that_is_not_wanted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    try:
        for is_wanted in (True, False):
            settings = settings_of(database, shortcuts=is_wanted)
            async with open_pool(settings, name="test") as pool:
                asked.append(asked_classes())
                assert await pool.fetchval("SELECT $1::int[]", (1, 2)) == [1, 2]
                with pytest.raises(asyncpg.DataError, match="a sized iterable container expected"):
                    await pool.fetchval("SELECT $1::text[]", "ab")
        # A release that this was not tried with.
        monkeypatch.setattr(asyncpg, "__version__", "0.99.0")
        async with open_pool(settings_of(database), name="test"):
            asked.append(asked_classes())
    finally:
        monkeypatch.undo()
        async with open_pool(settings_of(database), name="test"):
            asked.append(asked_classes())

    assert asked == [[True, True], [False, False], [False, False], [True, True]]
