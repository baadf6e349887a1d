"""Figures of the turns' pool, as the edge gets them."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from noetl_bus.broker import connect
from noetl_bus.rpc import Handler, RpcClient
from noetl_contract.http.system.health import PoolStatusAnswer
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.orchestrator import POOL_STATUS
from noetl_orchestrator.app import create_app
from noetl_orchestrator.log.connections import TurnConnections, pool_status_handler
from noetl_pg.pool import open_pool
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

from services.orchestrator.tests.shard import settings_for
from services.orchestrator.tests.test_app import catalog, is_ready, running

type Pool = asyncpg.Pool[asyncpg.Record]


async def ask(handler: Handler) -> PoolStatusAnswer:
    reply = await handler.answer(b"")
    assert reply.status == 200
    return POOL_STATUS.decode_answer(reply.raw_body)


def figures(*, used: int, open_: int, waiting: int = 0) -> PoolStatusAnswer:
    return PoolStatusAnswer(
        pool_min=1,
        pool_max=4,
        pool_size=open_,
        pool_available=open_ - used,
        requests_waiting=waiting,
        utilization=used / 4,
        slots_available=4 - used,
        status="ok",
    )


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    settings = settings_for("nats://unused", database, postgres_pool_min=1, postgres_pool_max=4)
    async with open_pool(settings, name="turns") as opened:
        yield opened


async def test_a_connection_counts_as_used_while_a_turn_has_it_and_not_while_it_is_kept(
    pool: Pool,
) -> None:
    connections = TurnConnections(pool)
    status = pool_status_handler(pool, kept=connections.count_kept, waiting=lambda: 7)

    idle = await ask(status)
    async with connections.borrow(), connections.borrow():
        busy = await ask(status)
    kept = await ask(status)

    assert idle == figures(used=0, open_=1, waiting=7)
    assert busy == figures(used=2, open_=2, waiting=7)
    assert kept == figures(used=0, open_=2, waiting=7)
    await connections.close()


async def test_a_kept_connection_that_the_server_ended_is_not_available(pool: Pool) -> None:
    connections = TurnConnections(pool)
    status = pool_status_handler(pool, kept=connections.count_kept, waiting=lambda: 0)
    async with connections.borrow() as connection:
        process = connection.get_server_pid()
    async with pool.acquire() as other:
        await other.execute("SELECT pg_terminate_backend($1)", process)

    await eventually(lambda: connections.count_kept() == 0)

    assert (await ask(status)).pool_available == 1
    await connections.close()


async def test_a_running_orchestrator_answers_for_its_pool(
    nats_url: str, database: Database
) -> None:
    settings = settings_for(nats_url, database, turns_in_flight=3)
    app = create_app(settings)
    async with connect(settings, name="test") as bus, catalog(bus), running(app):
        await eventually(lambda: is_ready(app))
        answer = await RpcClient(bus).ask(POOL_STATUS, Nothing(), shard=0, seconds=PATIENCE_SECONDS)

    assert (answer.status, answer.pool_min, answer.pool_max) == ("ok", 3, 4)
    assert 0 <= answer.pool_available <= answer.pool_size <= 4
