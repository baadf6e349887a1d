"""Connections of tests to the broker."""

from collections.abc import AsyncIterator

import pytest
from noetl_bus.broker import Bus, connect
from noetl_testkit.bus import nats_settings


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    async with connect(nats_settings(nats_url), name="test") as opened:
        yield opened
