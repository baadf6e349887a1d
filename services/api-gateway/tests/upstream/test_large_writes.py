"""Content above the broker's message limit is stored first (W13)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from noetl_bus.consumers.delivery import Delivery
from noetl_contract.rpc import RpcReply
from noetl_testkit.nats import NatsServer
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

from ..conftest import EXECUTION_ID, World, make_world

LIMIT = 64 << 10
TEXT = "x y " * 50_000
EVENT = {
    "execution_id": EXECUTION_ID,
    "event_type": "call.done",
    "step": "start",
    "event_id": 5,
    "payload": {"text": TEXT},
}
REF = f"noetl://execution/{EXECUTION_ID}/result/ingress/1"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """An edge on a broker that takes 64 KB."""
    server = NatsServer(tmp_path / "small")
    server.instance = replace(server.instance, max_payload_bytes=LIMIT)
    server.start()
    try:
        async with make_world(server.url) as made:
            yield made
    finally:
        server.kill()


def keep(world: World, kept: list[dict[str, Any]]) -> None:
    """Answer as the result store does, after it has fetched a large body."""

    async def on_put(request: dict[str, Any]) -> RpcReply:
        data = orjson.loads(
            (await world.backend.bus.request(request["data_at"], seconds=PATIENCE_SECONDS)).data
        )
        kept.append({**request, "data": data})
        return RpcReply.with_body(
            {"ref": REF, "store": "db", "scope": "ingress", "bytes": 1, "sha256": "0"}
        )

    world.backend.answer("result.put", on_put)


async def stored(_message: Any, _delivery: Delivery) -> RpcReply:
    """Answer as the orchestrator does after a commit."""
    return RpcReply.with_body(
        {"execution_id": str(EXECUTION_ID), "status": "started", "commands_generated": 1}
    )


async def test_a_large_start_and_a_large_event_are_kept_and_referred_to(world: World) -> None:
    kept: list[dict[str, Any]] = []
    keep(world, kept)
    world.backend.on_ingress = stored

    started = await world.post("/api/execute", {"path": "p", "payload": {"text": TEXT}})
    posted = await world.post("/api/events", EVENT)
    small = await world.post("/api/events", {**EVENT, "payload": {}})

    assert [one.status_code for one in (started, posted, small)] == [200, 200, 200]
    assert [one["data"]["type"] for one in kept] == ["execute", "events"]
    assert kept[0]["data"]["payload"] == {"text": TEXT}
    assert kept[1]["data"]["events"][0]["context"] == {"text": TEXT}
    assert kept[1]["execution_id"] == EXECUTION_ID
    assert kept[0]["result_id"] != kept[1]["result_id"]
    assert [one["type"] for one in world.backend.ingress] == ["stored", "stored", "events"]
    assert world.backend.ingress[1]["ref"] == REF
    assert world.backend.ingress[1]["size"] > LIMIT


async def test_an_event_waits_for_the_store_and_a_start_does_not(world: World) -> None:
    """W7: a worker is slowed down, a client is refused at once, and nothing was started."""
    asked = 0
    kept: list[dict[str, Any]] = []

    def away(_request: dict[str, Any]) -> RpcReply:
        nonlocal asked
        asked += 1
        return RpcReply(status=503, error="the store is away")

    world.backend.answer("result.put", away)
    world.backend.on_ingress = stored

    started = await world.post("/api/execute", {"path": "p", "payload": {"text": TEXT}})
    posting = asyncio.create_task(world.post("/api/events", EVENT))
    await eventually(lambda: asked == 2, what="the event met the store that is away")
    keep(world, kept)

    assert started.status_code == 503
    assert (await posting).status_code == 200
    assert len(kept) == len(world.backend.ingress) == 1


async def test_what_the_store_refuses_for_good_is_refused(world: World) -> None:
    world.backend.answer("result.put", RpcReply(status=413, error="too much"))

    answer = await world.post("/api/events", EVENT)

    assert (answer.status_code, answer.json()["error"]) == (413, "too much")
    assert world.backend.ingress == []
