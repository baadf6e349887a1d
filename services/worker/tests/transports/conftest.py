"""Fixtures of the tests of transports."""

from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest
from message_worker import StartWorker, worker_starter
from noetl_bus.writes import breaker
from noetl_bus.writes.sender import ANSWER_SECONDS
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
def patient_requests(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Answers to requests count however late they come; a call gives the limit back."""
    change = partial(monkeypatch.setattr, over_bus, "ANSWER_SECONDS")
    change(PATIENCE_SECONDS)
    return partial(change, ANSWER_SECONDS)


@pytest.fixture
def open_breaker(monkeypatch: pytest.MonkeyPatch) -> None:
    """No request follows one that was not answered."""
    for name in ("_FIRST_OPEN_SECONDS", "_LONGEST_OPEN_SECONDS"):
        monkeypatch.setattr(breaker, name, PATIENCE_SECONDS)
