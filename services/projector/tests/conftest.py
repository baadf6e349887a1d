"""A store on a database of its own for each test, log rows in it, and the service in process."""

from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
from noetl_common.bus.broker import connect
from noetl_common.bus.rpc import RpcClient, serve_rpc
from noetl_common.ids import SnowflakeIds
from noetl_common.pg.pool import open_pool
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import rpc_subject
from noetl_projector.executions.event_handlers import EventHandlers
from noetl_projector.executions.handlers import ExecutionHandlers
from noetl_projector.executions.store import ExecutionStore
from noetl_projector.projection.store import ProjectionStore
from noetl_projector.replay.handlers import ReplayHandlers
from noetl_projector.replay.store import ReplayStore
from noetl_projector.results.bodies.places import open_places
from noetl_projector.results.handlers import ResultHandlers
from noetl_projector.results.store import ResultStore
from noetl_projector.settings import Settings
from noetl_projector.subscriptions.handlers import SubscriptionHandlers
from noetl_projector.subscriptions.store import SubscriptionStore
from noetl_testkit.postgres import Database
from pydantic import SecretStr

type Pool = asyncpg.Pool[asyncpg.Record]
type Ask = Callable[..., Awaitable[RpcReply]]
type AddLog = Callable[..., Awaitable[None]]


def make_settings(database: Database, *, nats_url: str = "", **overrides: Json) -> Settings:
    """Settings that lead to the servers of a test."""
    return Settings(nats_url=SecretStr(nats_url), **database.settings, **overrides)


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    async with open_pool(make_settings(database), name="test") as opened:
        yield opened


@pytest.fixture
def store(pool: Pool) -> ProjectionStore:
    return ProjectionStore(pool)


@pytest.fixture
def add_log(pool: Pool) -> AddLog:
    """Write an execution's state row and log as an orchestrator does."""

    async def add(
        execution_id: int,
        events: list[JsonObject],
        *,
        status: str = "RUNNING",
        path: str = "tests/x",
        parent: int | None = None,
    ) -> None:
        ended = "now()" if status != "RUNNING" else "NULL"
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(
                f"""
                INSERT INTO noetl.execution_state AS s
                    (execution_id, catalog_id, path, version, status, position, ended_at,
                     parent_execution_id, total_steps, completed_steps)
                VALUES ($1, 5, $2, 3, $3, $4, {ended}, $5, 2, 1)
                ON CONFLICT (execution_id) DO UPDATE
                    SET status = $3, position = $4, ended_at = {ended}
                """,
                execution_id,
                path,
                status,
                len(events),
                parent,
            )
            await connection.executemany(
                """
                INSERT INTO noetl.event (execution_id, catalog_id, event_id, position, event_type,
                    node_id, node_name, node_type, status, context, result, meta)
                VALUES ($1, 5, $2, $3, $4, $5, $5, $6, $7, $8, $9, $10)
                ON CONFLICT DO NOTHING
                """,
                [
                    (
                        execution_id,
                        event.get("event_id", 1000 + position),
                        position,
                        event["event_type"],
                        event.get("node", "start"),
                        event.get("node_type"),
                        event.get("status", "OK"),
                        event.get("context"),
                        event.get("result"),
                        event.get("meta"),
                    )
                    for position, event in enumerate(events, 1)
                ],
            )

    return add


@pytest.fixture
async def ask(database: Database, nats_url: str, pool: Pool) -> AsyncIterator[Ask]:
    """Ask the projector's handlers over the bus."""
    settings = make_settings(
        database, nats_url=nats_url, detail_events_max=5, detail_bytes_max=3000
    )
    executions = ExecutionStore(pool)
    routes = ExecutionHandlers(executions, settings=settings).routes()
    routes |= EventHandlers(executions, settings=settings).routes()
    routes |= ReplayHandlers(ReplayStore(pool), settings=settings).routes()
    routes |= SubscriptionHandlers(SubscriptionStore(pool), settings=settings).routes()
    async with connect(settings, name="test") as bus:
        results = ResultHandlers(
            ResultStore(pool),
            bus=bus,
            settings=settings,
            ids=SnowflakeIds(7),
            places=open_places(settings, bus),
        )
        async with serve_rpc(bus, routes | results.routes(), queue="test"):
            client = RpcClient(bus)

            async def ask_projector(operation: str, **request: Json) -> RpcReply:
                subject = rpc_subject("projector", operation, shard=0)
                return await client.call(subject, request, timeout=10)

            yield ask_projector
