"""Stores on a database of its own for each test, log rows in it, and handlers to ask."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import asyncpg
import pytest
from noetl_bus.rpc import Handler
from noetl_bus.rpc.handlers import reply_to_error
from noetl_common.errors import NoetlError
from noetl_contract.json import Json, JsonObject
from noetl_contract.model import Shape
from noetl_contract.rpc import RpcReply, decode_reply, encode_reply
from noetl_contract.rpc.operation import Operation, encode_value
from noetl_pg.database import Database
from noetl_pg.pool import open_pool
from noetl_projector.dashboard.handlers import DashboardHandlers
from noetl_projector.dashboard.store import DashboardStore
from noetl_projector.executions.handlers import ExecutionHandlers
from noetl_projector.executions.store import ExecutionStore
from noetl_projector.known_secrets import KnownSecrets
from noetl_projector.projection.store import ProjectionStore
from noetl_projector.replay.handlers import ReplayHandlers
from noetl_projector.replay.store import ReplayStore
from noetl_projector.results.handlers import ResultListHandlers
from noetl_projector.results.store import ResultStore
from noetl_projector.settings import Settings
from noetl_projector.steps.handlers import StepHandlers
from noetl_projector.steps.store import StepStore
from noetl_projector.subscriptions.handlers import SubscriptionHandlers
from noetl_projector.subscriptions.store import SubscriptionStore
from noetl_projector.variables.handlers import VariableHandlers
from noetl_projector.variables.store import VariableStore
from noetl_projector.waits.handlers import WaitHandlers
from noetl_projector.waits.store import WaitStore
from noetl_testkit.postgres import Database as DatabaseAddress
from pydantic import SecretStr

type Pool = asyncpg.Pool[asyncpg.Record]
type AddLog = Callable[..., Awaitable[None]]


class Ask:
    """Asks handlers without a bus; requests and answers are the JSON that a bus would carry."""

    def __init__(self, handlers: Iterable[Handler]) -> None:
        self._handlers = {handler.operation.name: handler for handler in handlers}

    async def __call__[Request: Shape, Answer](
        self, operation: Operation[Request, Answer], request: Request
    ) -> RpcReply:
        handler = self._handlers[operation.name]
        try:
            reply = await handler.answer(encode_value(request))
        except NoetlError as error:
            reply = reply_to_error(error, name=operation.name, has_details=handler.has_details)
        return decode_reply(encode_reply(reply))


def make_settings(database: DatabaseAddress, *, nats_url: str = "", **overrides: Json) -> Settings:
    """Settings that lead to the servers of a test."""
    return Settings(nats_url=SecretStr(nats_url), **database.settings, **overrides)


@pytest.fixture
async def pool(database: DatabaseAddress) -> AsyncIterator[Pool]:
    async with open_pool(make_settings(database), name="test") as opened:
        yield opened


@pytest.fixture
def db(pool: Pool) -> Database:
    return Database(pool)


@pytest.fixture
def store(db: Database) -> ProjectionStore:
    return ProjectionStore(db, few_rows=1)


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
def ask(database: DatabaseAddress, db: Database) -> Ask:
    """Ask the handlers that need nothing but the database, with small limits."""
    settings = make_settings(database, detail_events_max=5, detail_bytes_max=3000)
    executions, secrets, projection = (
        ExecutionStore(db),
        KnownSecrets(db),
        ProjectionStore(db, few_rows=1),
    )
    return Ask(
        [
            *ExecutionHandlers(
                executions, projection, secrets=secrets, settings=settings
            ).handlers(),
            *StepHandlers(StepStore(db), projection, secrets=secrets).handlers(),
            *ReplayHandlers(ReplayStore(db), secrets=secrets).handlers(),
            *SubscriptionHandlers(SubscriptionStore(db)).handlers(),
            *VariableHandlers(VariableStore(db), settings=settings).handlers(),
            *WaitHandlers(WaitStore(db), secrets=secrets).handlers(),
            *DashboardHandlers(DashboardStore(db)).handlers(),
            *ResultListHandlers(ResultStore(db)).handlers(),
        ]
    )
