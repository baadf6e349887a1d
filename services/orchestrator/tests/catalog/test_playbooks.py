"""Playbooks of executions that run."""

import asyncio

from services.orchestrator.tests.gates import (
    finish,
)
from services.orchestrator.tests.playbooks import LINEAR
from services.orchestrator.tests.shard import Shard


async def test_s5_the_pinned_version_is_used_whatever_the_catalog_says_later(
    shard: Shard,
) -> None:
    replica = await shard.open_replica()
    execution_id = await shard.start()
    catalog_id = next(iter(shard.playbooks))
    shard.playbooks[catalog_id] = LINEAR.replace("second", "third")
    replica.rooms.cache.forget(execution_id)

    await finish(shard, execution_id)

    names = {row["node_name"] for row in await shard.log(execution_id)}
    assert "second" in names
    assert "third" not in names


async def test_an_absent_catalog_holds_back_its_executions_only(shard: Shard) -> None:
    replica = await shard.open_replica()
    known = await shard.start()
    lost = shard.start_message(LINEAR + "# another version\n")
    fetch = replica.rooms.playbooks._catalog.content
    is_up = asyncio.Event()

    async def wait(catalog_id: int) -> str:
        await is_up.wait()
        return await fetch(catalog_id)

    replica.rooms.playbooks._catalog.content = wait
    waiting = asyncio.create_task(shard.send(lost["execution_id"], lost))
    await finish(shard, known)
    assert not waiting.done()
    is_up.set()

    assert (await waiting)["status"] == 200
