"""Traces at the edge: a caller's context goes on, and without one nothing is added."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from noetl_bus.consumers.delivery import Delivery
from noetl_common.telemetry.tracing import start_tracing, stop_tracing
from noetl_contract.rpc import RpcReply
from noetl_service.settings import ServiceSettings
from noetl_testkit.waiting import PATIENCE_SECONDS
from otlp_receiver import Receiver, receiving

from .conftest import EXECUTION_ID, World, make_world

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
START = {"path": "examples/x", "workload": {}}
EVENT = {"execution_id": EXECUTION_ID, "event_type": "call.done", "step": "a", "event_id": 5}


class Heard:
    """Messages that the orchestrator gets, and their headers."""

    def __init__(self, world: World) -> None:
        self.headers: list[dict[str, str]] = []
        self._world = world
        self._commit = world.backend.on_ingress
        world.backend.on_ingress = self.take

    async def take(self, message: Any, delivery: Delivery) -> RpcReply:
        self.headers.append(dict(delivery.headers))
        if message["type"] == "execute":
            body = {
                "execution_id": str(message["execution_id"]),
                "status": "started",
                "commands_generated": 1,
            }
            return RpcReply.with_body(body)
        return RpcReply.with_body({"status": "ok", "event_id": 5, "commands_generated": 0})

    @property
    def trace(self) -> Any:
        """The context in the body of the newest message."""
        return self._world.backend.ingress[-1].get("trace")


async def test_without_a_context_no_message_has_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else it would be a repetition, which its headers show.
    monkeypatch.setattr("noetl_bus.writes.exchange.ANSWER_SECONDS", PATIENCE_SECONDS)
    heard = Heard(world)

    good(await world.post("/api/execute", START))
    assert heard.trace is None
    good(await world.post("/api/events", EVENT))
    good(await world.post("/api/execute", START, traceparent="00-nonsense"))

    assert heard.trace is None
    assert all(
        set(headers) == {"Nats-Msg-Id", "Noetl-Reply", "Noetl-Deadline"}
        for headers in heard.headers
    )


async def test_a_caller_s_context_is_that_of_the_execution(world: World) -> None:
    heard = Heard(world)

    good(await world.post("/api/execute", START, traceparent=PARENT, tracestate="a=1"))

    assert heard.trace == {"traceparent": PARENT, "tracestate": "a=1"}
    assert heard.headers[0]["traceparent"] == PARENT


async def test_the_context_in_a_body_wins(world: World) -> None:
    heard = Heard(world)
    own = {"traceparent": PARENT.replace("4bf9", "aaaa"), "baggage": {"k": "v"}}

    good(await world.post("/api/execute", {**START, "trace": own}, traceparent=PARENT))

    assert heard.trace == own


async def test_the_context_of_an_event_goes_with_it(world: World) -> None:
    heard = Heard(world)

    good(await world.post("/api/events", EVENT, traceparent=PARENT))

    assert heard.headers[0]["traceparent"] == PARENT


class TestTraced:
    """With tracing on."""

    @pytest.fixture
    def receiver(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
        with receiving() as found:
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
            yield found
            stop_tracing()

    @pytest.fixture
    async def traced(self, receiver: Receiver, nats_url: str) -> AsyncIterator[World]:
        del receiver
        async with make_world(nats_url) as world:
            start_tracing(ServiceSettings(), "api-gateway")
            yield world

    async def test_a_start_is_a_trace(self, traced: World, receiver: Receiver) -> None:
        heard = Heard(traced)
        good(await traced.post("/api/execute", START))
        good(await traced.get("/api/health"))
        stop_tracing()

        spans = {span.name: span for span in receiver.spans.values()}
        root, ingress = spans["POST /api/execute"], spans["ingress execute"]
        assert (root.parent_id, ingress.parent_id) == ("", root.span_id)
        assert heard.trace["traceparent"] == f"00-{root.trace_id}-{ingress.span_id}-03"
        assert root.attributes["http.response.status_code"] == 200
        assert "GET /api/health" not in spans

    async def test_a_child_takes_over_the_trace_of_its_parent_and_not_one_that_begins_here(
        self, traced: World
    ) -> None:
        heard = Heard(traced)
        child = {**START, "parent_execution_id": str(EXECUTION_ID)}

        good(await traced.post("/api/execute", child))
        assert heard.trace is None
        good(await traced.post("/api/execute", child, traceparent=PARENT))
        assert heard.trace["traceparent"].split("-")[1] == PARENT.split("-")[1]


def good(answer: httpx.Response) -> None:
    assert answer.status_code == 200, answer.text
