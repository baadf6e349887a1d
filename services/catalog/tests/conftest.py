"""A store on a database of its own for each test, and the whole service in process."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from noetl_catalog.app import open_parts
from noetl_catalog.entries.store import EntryStore
from noetl_catalog.settings import Settings
from noetl_common.bus.broker import connect
from noetl_common.bus.rpc import RpcClient
from noetl_common.pg.database import Database
from noetl_common.pg.pool import Pool, open_pool
from noetl_common.service import Service, supervise
from noetl_contract.json import Json
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import rpc_subject
from noetl_testkit.postgres import Database as TestDatabase
from pydantic import SecretStr

type Ask = Callable[..., Awaitable[RpcReply]]


def make_settings(database: TestDatabase, *, nats_url: str = "", **overrides: Json) -> Settings:
    """Settings that lead to the servers of a test."""
    return Settings(nats_url=SecretStr(nats_url), **database.settings, **overrides)


@pytest.fixture
async def pool(database: TestDatabase) -> AsyncIterator[Pool]:
    async with open_pool(make_settings(database), name="test") as opened:
        yield opened


@pytest.fixture
def store(pool: Pool) -> EntryStore:
    return EntryStore(Database(pool))


@asynccontextmanager
async def asking(database: TestDatabase, nats_url: str, **overrides: Json) -> AsyncIterator[Ask]:
    """Ask a catalog service that runs until the block ends."""
    settings = make_settings(database, nats_url=nats_url, **overrides)
    async with (
        supervise(Service("catalog", settings), lambda service: open_parts(service, settings)),
        connect(settings, name="asker") as bus,
    ):
        client = RpcClient(bus)

        async def ask_catalog(operation: str, **request: Json) -> RpcReply:
            return await client.call(rpc_subject("catalog", operation), request, timeout=10)

        yield ask_catalog


@pytest.fixture
async def ask(database: TestDatabase, nats_url: str) -> AsyncIterator[Ask]:
    """Ask a running catalog service."""
    async with asking(database, nats_url) as made:
        yield made
