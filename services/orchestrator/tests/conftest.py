"""The fixture that most tests of the orchestrator use."""

from collections.abc import AsyncIterator

import pytest
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import PATIENCE_SECONDS

from services.orchestrator.tests.shard import Shard, opened_shard


@pytest.fixture(autouse=True)
def _patient_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep judges no worker while the broker is silent: here it waits long enough."""
    monkeypatch.setattr("noetl_orchestrator.leases.broker._API_SECONDS", PATIENCE_SECONDS)


@pytest.fixture
async def shard(nats_url: str, database: Database) -> AsyncIterator[Shard]:
    """A shard without replicas; a test opens them with its settings."""
    async with opened_shard(nats_url, database) as opened:
        yield opened
