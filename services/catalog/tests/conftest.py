"""A database of its own for each test, stores on it, and the whole service in process."""

from collections.abc import AsyncIterator

import pytest
from noetl_catalog.entries.store import EntryStore
from noetl_pg.database import Database
from noetl_pg.pool import Pool, open_pool
from noetl_testkit.postgres import Database as TestDatabase

from services.catalog.tests.world import Ask, World, make_settings, open_world


@pytest.fixture
async def pool(database: TestDatabase) -> AsyncIterator[Pool]:
    async with open_pool(make_settings(database), name="test") as opened:
        yield opened


@pytest.fixture
def store(pool: Pool) -> EntryStore:
    return EntryStore(Database(pool))


@pytest.fixture
async def world(database: TestDatabase, nats_url: str) -> AsyncIterator[World]:
    """A running catalog service with everything around it."""
    async with open_world(database, nats_url) as opened:
        yield opened


@pytest.fixture
def ask(world: World) -> Ask:
    """Ask a running catalog service."""
    return world.ask
