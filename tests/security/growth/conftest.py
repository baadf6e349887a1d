"""A shard of orchestrators, and stacks whose orchestrator has a planted fault."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from noetl_testkit.postgres import Database

sys.path.append(str(Path(__file__).parents[3]))
from services.orchestrator.tests.shard import Shard, opened_shard


@pytest.fixture
async def shard(nats_url: str, database: Database) -> AsyncIterator[Shard]:
    """A shard without replicas; a test opens them with its settings."""
    async with opened_shard(nats_url, database) as opened:
        yield opened
