"""Deliveries to listeners: each starts an execution once, and answers hide secrets."""

import hashlib
import hmac
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
from noetl_api_gateway.rates import Buckets, Rate

from ...conftest import World, make_world

BODY = {"order": 7, "message": "mine"}
SUBSCRIPTION = {
    "subscription_id": "5",
    "path": "hooks/orders",
    "catalog_id": "9",
    "state": "REGISTERED",
    "last_event_type": "subscription.registered",
}


def spec(**changes: Any) -> dict[str, Any]:
    return {
        "source": "webhook",
        "mode": "push",
        "ingress": {
            "gateway_path": "/ingress/orders",
            "verify": {"type": "hmac_sha256", "header": "X-Signature", "secret": "hook"},
        },
        "dispatch": {"playbook": "orders/take"},
    } | changes


@pytest.fixture
async def world(nats_url: str) -> AsyncIterator[World]:
    async with make_world(nats_url) as made:
        listens(made, spec())
        yield made


def listens(world: World, document: dict[str, Any], **subscription: Any) -> None:
    backend = world.backend
    backend.answer(
        "subscription.listener", {"path": "hooks/orders", "catalog_id": 9, "spec": document}
    )
    backend.answer("credential.get", {"data": {"secret": "s3cr3t"}, **CREDENTIAL})
    backend.answer("resolve", _resolved)
    backend.answer("subscription.register", SUBSCRIPTION | subscription)
    backend.answer("log.project", {"projected": 1, "duplicates": 0})


CREDENTIAL = {
    "id": "1",
    "name": "hook",
    "type": "bearer",
    "created_at": "2026-06-15T12:00:00Z",
    "updated_at": "2026-06-15T12:00:00Z",
}


def _resolved(request: dict[str, Any]) -> dict[str, Any]:
    kind = "subscription" if request["path"] == "hooks/orders" else "playbook"
    return {"path": request["path"], "catalog_id": 9, "version": 1, "kind": kind}


async def deliver(world: World, body: Any = BODY, **headers: str) -> httpx.Response:
    data = orjson.dumps(body)
    mac = hmac.new(b"s3cr3t", data, hashlib.sha256).hexdigest()
    shown = {"x-signature": mac} | headers
    return await world.client.post("/ingress/orders", content=data, headers=shown)


async def test_a_delivery_is_a_start_with_the_message_in_its_workload(world: World) -> None:
    answer = await deliver(
        world, **{"x-github-delivery": "d-1", "cookie": "a=b", "authorization": "Basic x"}
    )

    (start,) = world.backend.ingress
    message = start["payload"]["message"]
    assert (answer.status_code, answer.json()["status"]) == (202, "accepted")
    assert start["path"] == "orders/take"
    assert start["parent_execution_id"] == 5
    assert start["payload"]["order"] == 7
    assert (start["payload"]["subscription"], start["payload"]["source"]) == (
        "hooks/orders",
        "webhook",
    )
    assert message["data"] == BODY
    assert message["metadata"] == {"source": "webhook", "mode": "push"}
    assert not {"x-signature", "cookie", "authorization"} & message["headers"].keys()
    assert (start["dedup_key"], start["dedup_scope"]) == ("d-1", "hooks/orders")


async def test_a_delivery_without_an_id_is_known_by_nothing(world: World) -> None:
    await deliver(world)

    (start,) = world.backend.ingress
    assert start["dedup_key"] is None
    assert start["payload"]["message"]["id"].startswith("delivery:")


async def test_the_subscription_says_where_the_id_is(world: World) -> None:
    listens(world, spec(dedup={"key": "data.event.id", "window_secs": 60}))

    await deliver(world, {"event": {"id": 12}})

    (start,) = world.backend.ingress
    assert (start["dedup_key"], start["dedup_window_seconds"]) == ("12", 60)


async def test_headers_decide_what_the_subscription_lets_them(world: World) -> None:
    rules = [
        {"header": "X-Route", "controls": "dispatch.playbook", "allowed": ["orders/other"]},
        {"header": "X-Priority", "controls": "priority", "map": {"high": "fast"}},
        {"header": "X-Key", "controls": "idempotency_key"},
    ]
    listens(world, spec(headers={"directives": rules, "trace": {"propagate": "w3c"}}))
    parent = f"00-{'a' * 32}-{'b' * 16}-01"

    await deliver(
        world,
        **{
            "x-route": "orders/other",
            "x-priority": "high",
            "x-key": "k-1",
            "traceparent": parent,
        },
    )
    await deliver(world, **{"x-route": "system/evil"})

    chosen, other = world.backend.ingress
    (noted,) = world.backend.requests("log.project")
    assert (chosen["path"], chosen["execution_pool"]) == ("orders/other", "fast")
    assert chosen["dedup_key"] == chosen["payload"]["idempotency_key"] == "k-1"
    assert chosen["trace"] == {"traceparent": parent}
    assert other["path"] == "orders/take"
    (event,) = noted["events"]
    assert event["event_type"] == "subscription.message.directives_applied"
    assert event["context"]["directives"] == {
        "dispatch.playbook": "orders/other",
        "priority": "fast",
        "idempotency_key": "k-1",
    }


async def test_nothing_is_started_without_the_signature(world: World) -> None:
    answer = await deliver(world, **{"x-signature": "00" * 32})

    assert (answer.status_code, answer.json()) == (
        401,
        {"status": "rejected", "reason": "bad_signature"},
    )
    assert world.backend.ingress == []


async def test_a_paused_subscription_is_delivered_to_later(world: World) -> None:
    listens(world, spec(), state="PAUSED")

    answer = await deliver(world)

    assert (answer.status_code, answer.json()["reason"]) == (503, "paused")
    assert int(answer.headers["retry-after"]) > 0
    assert world.backend.ingress == []


async def test_the_catalog_is_asked_once_for_many_deliveries(world: World) -> None:
    for number in range(5):
        await deliver(world, {"number": number})

    assert len(world.backend.requests("subscription.listener")) == 1
    assert len(world.backend.ingress) == 5


async def test_a_body_has_a_limit(world: World) -> None:
    answer = await deliver(world, {"text": "x" * (1 << 20)})

    assert answer.status_code == 413
    assert world.backend.ingress == []


async def test_a_listener_has_the_rate_that_its_subscription_says(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def standing(rate: Rate) -> Buckets:
        return Buckets(rate, lambda: 0.0)

    monkeypatch.setattr("noetl_api_gateway.upstream.listeners.Buckets", standing)
    listens(world, spec(limits={"max_dispatch_per_sec": 2}))

    answers = [await deliver(world, {"number": number}) for number in range(3)]

    assert [one.status_code for one in answers] == [202, 202, 429]
    assert answers[-1].json()["reason"] == "rate_limited"
    assert len(world.backend.ingress) == 2
