"""A pool on an empty database."""

from collections.abc import AsyncIterator

import pytest
from noetl_pg.pool import Pool, open_pool
from noetl_pg.settings import PostgresSettings
from noetl_testkit.postgres import Database


@pytest.fixture
async def pool(empty_database: Database) -> AsyncIterator[Pool]:
    settings = PostgresSettings.model_validate({**empty_database.settings, "postgres_pool_max": 2})
    async with open_pool(settings, name="test") as opened:
        yield opened
