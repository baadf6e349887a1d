"""Fixtures of the tests of transports."""

from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest
from message_worker import StartWorker, worker_starter
from noetl_common.retry import SHORT_WAY_SECONDS
from noetl_testkit.waiting import PATIENCE_SECONDS
from noetl_worker.interpreters.pool import InterpreterPool
from noetl_worker.transports.fast import over_bus
from worker_control_plane import ControlPlane, control_plane


@pytest.fixture
def start_worker(interpreters: InterpreterPool, nats_url: str) -> StartWorker:
    return worker_starter(interpreters, nats_url)


@pytest.fixture
async def plane(nats_url: str) -> AsyncIterator[ControlPlane]:
    async with control_plane(nats_url) as made:
        yield made


@pytest.fixture
def patient_short_way(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """What is answered past the stream counts however late; a call gives the limit back."""
    change = partial(monkeypatch.setattr, over_bus, "SHORT_WAY_SECONDS")
    change(PATIENCE_SECONDS)
    return partial(change, SHORT_WAY_SECONDS)


@pytest.fixture
def closed_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The short way stays closed once it has failed."""
    for name in ("_FIRST_CLOSED_SECONDS", "_LONGEST_CLOSED_SECONDS"):
        monkeypatch.setattr(f"noetl_common.retry.{name}", PATIENCE_SECONDS)
