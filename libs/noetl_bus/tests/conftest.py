"""Connections of tests to the broker."""

from collections.abc import AsyncIterator

import pytest
from noetl_bus.broker import Bus, connect
from noetl_bus.topology import ensure_topology
from noetl_contract.streams import DEAD
from noetl_testkit.bus import Place, make_place, nats_settings
from noetl_testkit.nats import NatsServer


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    async with connect(nats_settings(nats_url), name="test") as opened:
        yield opened


@pytest.fixture
async def place(bus: Bus, bus_prefix: str) -> Place:
    """A stream of the test's own, and the dead letters beside it."""
    made = make_place(bus_prefix)
    await ensure_topology(bus, [made.stream, DEAD])
    return made


@pytest.fixture
async def own_bus(own_nats: NatsServer) -> AsyncIterator[Bus]:
    """A connection to the server that the test kills."""
    async with connect(nats_settings(own_nats.url), name="test") as opened:
        yield opened
