"""The fixtures keep their promises."""

import asyncio

import asyncpg
import nats
import pytest
from noetl_testkit.databases import UsedDatabases
from noetl_testkit.nats import NatsServer, wait_for_stream
from noetl_testkit.postgres import Database, OwnPostgresServer
from noetl_testkit.waiting import eventually, wait_until


@pytest.fixture(params=["first", "second"])
def turn(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_each_test_gets_a_migrated_and_empty_database(database: Database, turn: str) -> None:
    connection = await asyncpg.connect(database.dsn)
    try:
        rows = await connection.fetchval("SELECT count(*) FROM noetl.event")
        await connection.execute("CREATE TABLE noetl.mine (turn TEXT)")
    finally:
        await connection.close()

    assert (0, turn) == (rows, turn)


async def test_a_used_database_is_as_a_new_one(used_databases: UsedDatabases) -> None:
    with used_databases.lent() as first:
        connection = await asyncpg.connect(first.dsn)
        await connection.execute(
            "INSERT INTO noetl.outbox (execution_id, event_id) VALUES (1, 1), (1, 2);"
            "SELECT pg_advisory_lock(1)"
        )

    with used_databases.lent() as second:
        rows = second.run("SELECT count(*) FROM noetl.outbox")
        next_id = second.run("SELECT nextval('noetl.outbox_outbox_id_seq')")
        locks = second.run("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")

    assert (first.name, "0", "1", "0") == (second.name, rows, next_id, locks)
    with pytest.raises(asyncpg.PostgresError):
        await connection.fetchval("SELECT 1")


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE noetl.mine (turn TEXT)",
        "ALTER TABLE noetl.outbox ADD COLUMN mine TEXT",
        "DROP INDEX noetl.idx_outbox_ready",
        "GRANT SELECT ON noetl.outbox TO PUBLIC",
        "CREATE VIEW noetl.mine AS SELECT 1 AS one",
        "DELETE FROM noetl.resource",
        "ALTER TABLE noetl.result_store DISABLE TRIGGER USER",
        "CREATE FUNCTION mine() RETURNS INT LANGUAGE SQL AS 'SELECT 1'",
        "ALTER DATABASE {name} SET lock_timeout = '1s'",
    ],
)
def test_a_database_that_a_test_changed_is_not_used_again(
    used_databases: UsedDatabases, change: str
) -> None:
    with used_databases.lent() as first:
        first.run(change.format(name=first.name))

    with used_databases.lent() as second:
        tables = second.run("SELECT count(*) FROM noetl.resource")

    assert (first.name != second.name, tables != "0") == (True, True)


async def test_each_test_finds_no_streams_of_others(
    nats_url: str, bus_prefix: str, turn: str
) -> None:
    client = await nats.connect(nats_url)
    try:
        await client.jetstream().add_stream(name="same_name", subjects=[f"{bus_prefix}.{turn}"])
        info = await client.jetstream().stream_info("same_name")
    finally:
        await client.close()

    assert [f"{bus_prefix}.{turn}"] == info.config.subjects


async def test_a_killed_nats_keeps_its_store_and_a_wiped_one_does_not(own_nats: NatsServer) -> None:
    client = await nats.connect(own_nats.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05)
    try:
        stream = client.jetstream()
        await stream.add_stream(name="kept", subjects=["kept.>"])
        await stream.publish("kept.1", b"x")

        await asyncio.to_thread(own_nats.restart)
        wait_for_stream(own_nats.url, "kept")
        await eventually(lambda: client.is_connected)
        after_kill = (await stream.stream_info("kept")).state.messages

        await asyncio.to_thread(own_nats.wipe)
        await eventually(lambda: client.is_connected)
        with pytest.raises(nats.js.errors.NotFoundError):
            await stream.stream_info("kept")
    finally:
        await client.close()

    assert after_kill == 1


def test_a_killed_postgres_keeps_what_was_committed(own_postgres: OwnPostgresServer) -> None:
    database = own_postgres.at("postgres")
    database.run("CREATE TABLE kept AS SELECT 1 AS n")

    own_postgres.restart()

    assert database.run("SELECT n FROM kept") == "1"


def test_waiting_ends_at_the_deadline() -> None:
    with pytest.raises(TimeoutError, match="pigs fly"):
        wait_until(lambda: False, what="pigs fly", timeout_seconds=0.05)
