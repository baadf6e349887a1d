"""Starts of playbooks with plug-ins: the versions that count are asked for, and kept."""

import asyncio

from noetl_contract.json import JsonObject
from noetl_testkit.waiting import eventually

from services.orchestrator.tests.playbooks import LINEAR
from services.orchestrator.tests.shard import Shard

USES = LINEAR.replace("{kind: noop}", "{kind: wasm, plugin: p/a}")
PINS = {"p/a": {"path": "p/a", "version": 3, "catalog_id": 9, "digest": "d"}}


async def contexts(shard: Shard, execution_id: int) -> list[JsonObject]:
    rows = await shard.pool.fetch(
        "SELECT context FROM noetl.event WHERE execution_id = $1 AND event_type = 'command.issued'",
        execution_id,
    )
    return [row["context"] for row in rows]


async def test_a_start_waits_for_the_catalog_and_keeps_its_answer(shard: Shard) -> None:
    await shard.open_replica()
    waiting = asyncio.create_task(shard.start(USES, path="tests/uses"))
    await eventually(lambda: len(shard.asked_plugins) > 1, what="it is asked again")
    plain = await shard.start(LINEAR)
    assert not waiting.done(), "others don't wait for it"

    shard.plugins = PINS
    execution_id = await waiting

    (issued,) = await contexts(shard, execution_id)
    assert issued["plugins"] == PINS
    assert set(shard.asked_plugins) == {("p/a",)}
    assert all("plugins" not in one for one in await contexts(shard, plain))


async def test_playbooks_without_plugins_ask_nothing(shard: Shard) -> None:
    await shard.open_replica()

    await shard.start(LINEAR)

    assert shard.asked_plugins == []
