"""The fixture that most tests of the relay use."""

from collections.abc import AsyncIterator

import pytest
from noetl_testkit.postgres import Database

from services.outbox.tests.rows import Rows, opened_rows


@pytest.fixture
async def rows(database: Database, nats_url: str) -> AsyncIterator[Rows]:
    """Rows on the shared servers."""
    async with opened_rows(database, nats_url) as opened:
        yield opened
