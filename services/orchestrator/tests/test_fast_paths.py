"""`NOETL_FAST_PATHS_OFF`: without a fast path the way beside it is taken, and all goes on."""

from typing import get_args

import pytest
from noetl_common.environment.fast_paths import FastPath
from noetl_contract.ingress import NEXT_HEADER
from noetl_contract.json import Json
from noetl_orchestrator.settings import Settings
from noetl_testkit.bus import flush
from noetl_testkit.waiting import eventually
from pydantic import ValidationError

from services.orchestrator.tests.ingress.test_owners import two_replicas
from services.orchestrator.tests.publishing.test_handed_commands import ask, first_outcome, row_of
from services.orchestrator.tests.shard import Shard

PATHS: tuple[FastPath, ...] = get_args(FastPath.__value__)
EVENTS = [
    "playbook_started",
    *("command.issued", "command.claimed", "command.started", "call.done", "command.completed"),
    "step.enter",
    *("command.issued", "command.claimed", "command.started", "call.done", "command.completed"),
    "playbook.completed",
]


async def outbox_rows(shard: Shard, kind: str) -> list[str]:
    """Return the states of the outbox's rows of a kind."""
    rows = await shard.pool.fetch("SELECT status FROM noetl.outbox WHERE kind = $1", kind)
    return [row["status"] for row in rows]


async def run_through(shard: Shard) -> int:
    """Run an execution of two steps whose worker has room for a next command."""
    execution_id = await shard.start()
    for _ in range(2):
        command = await shard.command(execution_id)
        assert (await ask(shard, shard.fast(command), NEXT_HEADER)).answer["status"] == "ok"
    assert (await shard.types(execution_id))[-1] == "playbook.completed"
    return execution_id


@pytest.mark.parametrize("off", [[], *([one] for one in PATHS), list(PATHS)])
async def test_executions_end_alike(shard: Shard, off: list[FastPath]) -> None:
    await shard.open_replica(fast_paths_off=off)

    assert await shard.types(await run_through(shard)) == EVENTS


async def test_without_next_commands_each_goes_to_the_queue(shard: Shard) -> None:
    await shard.open_replica(fast_paths_off=["next-command"])

    first = await first_outcome(shard)

    assert first.answer == {"status": "ok"}
    issued = await shard.command(first.message["execution_id"])
    await eventually(lambda: shard.notifications(issued))
    assert await row_of(shard, issued) == "PENDING"


async def test_without_published_rows_all_is_left_to_the_sweep(shard: Shard) -> None:
    replica = await shard.open_replica(fast_paths_off=["published-rows"])

    command = await shard.command(await shard.start())

    assert await row_of(shard, command) == "PENDING"
    for bus in (replica.bus, shard.bus):  # what was published has come by then
        await flush(bus)
    assert shard.notifications() == []


@pytest.mark.parametrize("off", [[], ["commit-news"]])
async def test_without_news_each_commit_has_a_row(shard: Shard, off: Json) -> None:
    await shard.open_replica(fast_paths_off=off, outbox_event_types="none")
    execution_id = await shard.start()
    before = await outbox_rows(shard, "commit")

    first = await ask(shard, shard.fast(await shard.command(execution_id)), NEXT_HEADER)

    assert first.answer["status"] == "ok"
    more = len(await outbox_rows(shard, "commit")) - len(before)
    assert more == len(off)


async def test_without_kept_connections_each_goes_back_to_the_pool(shard: Shard) -> None:
    await shard.open_replica(fast_paths_off=["turn-connections"])
    await run_through(shard)
    await eventually(lambda: shard.rooms.store.count_kept_connections() == 0)

    await shard.open_replica()
    await run_through(shard)
    assert sum(one.rooms.store.count_kept_connections() for one in shard.replicas) > 0


async def test_without_owners_whoever_reads_the_stream_decides(shard: Shard) -> None:
    first, second = await two_replicas(shard, fast_paths_off=["owners"])

    ids = [await shard.start() for _ in range(20)]

    caches = [one.rooms.cache for one in (first, second)]
    owned = [first.rooms.replicas.owner_of(one) is None for one in ids]
    decided = [caches[0].get(one) is not None for one in ids]
    assert len(set(owned)) == 2
    assert decided != owned
    assert all(caches[0].get(one) or caches[1].get(one) for one in ids)


def test_an_unknown_fast_path_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOETL_FAST_PATHS_OFF", "next-command, no-such-path")

    with pytest.raises(ValidationError, match="fast_paths_off") as caught:
        Settings()
    assert "no-such-path" in str(caught.value)
