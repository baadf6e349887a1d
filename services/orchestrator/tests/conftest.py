"""The fixture that most tests of the orchestrator use."""

from collections.abc import AsyncIterator

import pytest
from noetl_testkit.postgres import Database

from services.orchestrator.tests.shard import Shard, opened_shard


@pytest.fixture
async def shard(nats_url: str, database: Database) -> AsyncIterator[Shard]:
    """A shard without replicas; a test opens them with its settings."""
    async with opened_shard(nats_url, database) as opened:
        yield opened
