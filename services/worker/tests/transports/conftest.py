"""Fixtures of the tests of transports."""

from collections.abc import AsyncIterator

import pytest
from message_worker import StartWorker, worker_starter
from noetl_worker.interpreters.pool import InterpreterPool
from worker_control_plane import ControlPlane, control_plane


@pytest.fixture
def start_worker(interpreters: InterpreterPool, nats_url: str) -> StartWorker:
    return worker_starter(interpreters, nats_url)


@pytest.fixture
async def plane(nats_url: str) -> AsyncIterator[ControlPlane]:
    async with control_plane(nats_url) as made:
        yield made
