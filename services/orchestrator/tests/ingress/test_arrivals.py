"""Sender and time of messages, for their spans."""

from collections.abc import Iterator
from time import time_ns
from typing import TYPE_CHECKING, cast

import pytest
from noetl_bus.inbox import Incoming
from noetl_common.telemetry.tracing import start_tracing, stop_tracing
from noetl_orchestrator.ingress.door import Requested
from noetl_orchestrator.traces import arrival_of
from noetl_service.settings import ServiceSettings
from otlp_receiver import receiving

if TYPE_CHECKING:
    from noetl_bus.consumers.delivery import DeliveryOwner

CONTEXT = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
NOBODY = cast("DeliveryOwner", None)
MESSAGE = Incoming("noetl_ingress.0.1.execute", b"{}", CONTEXT)


@pytest.fixture
def _traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        start_tracing(ServiceSettings(), "orchestrator")
        yield
        stop_tracing()


@pytest.mark.usefixtures("_traced")
def test_what_was_requested_has_come_now() -> None:
    before = time_ns()
    arrival = arrival_of(Requested(NOBODY, MESSAGE))

    assert arrival is not None
    assert arrival.sender == CONTEXT
    assert before <= arrival.stored_ns <= time_ns()


def test_nobody_asks_while_tracing_is_off() -> None:
    assert arrival_of(Requested(NOBODY, MESSAGE)) is None
