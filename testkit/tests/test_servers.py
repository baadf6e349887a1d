"""The fixtures keep what they promise."""

import asyncio

import asyncpg
import nats
import pytest
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
