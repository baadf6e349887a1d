"""Replicas keep each other's copies fresh; correctness doesn't need it, speed does."""

from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest
from noetl_contract.sharding import bucket_of
from noetl_orchestrator import metrics
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.log.stored_rows import LoadedExecution
from noetl_orchestrator.memory.cache import ExecutionCache
from noetl_orchestrator.replicas.load import Load, LoadMeter
from noetl_orchestrator.replicas.replicas import Replicas, _owners
from noetl_testkit.bus import flush
from noetl_testkit.waiting import eventually

from services.orchestrator.tests.ingress.test_owners import is_at_its_door
from services.orchestrator.tests.shard import Replica, Shard, running_loops


def conflicts() -> float:
    return sum(
        sample.value
        for family in metrics.CONFLICTS.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    )


def note_reads(store: Store, read: list[int]) -> None:
    """Add the ids of all executions that are read."""
    load = store.load_executions

    async def noting(execution_ids: Sequence[int]) -> dict[int, LoadedExecution]:
        read.extend(execution_ids)
        return await load(execution_ids)

    store.load_executions = noting


async def test_an_outdated_copy_reads_only_the_rows_that_are_new(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As while the replicas disagree about the owners: each decides what comes to it.
    monkeypatch.setattr(Replicas, "owner_of", lambda _self, _execution_id: None)
    monkeypatch.setattr(Replicas, "_is_unsettled", lambda _self: True)
    for _ in range(2):
        await shard.open_replica(with_siblings=True, replicas_active_min=9)
    first, second = (one.rooms for one in shard.replicas)
    await eventually(lambda: first.replicas.are_there and second.replicas.are_there)
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    read: list[int] = []
    for rooms in (first, second):
        note_reads(rooms.store, read)
    before = conflicts()

    # Claims go to the replicas in turn; each time the other one's copy is old.
    for number in range(6):
        await shard.claim(command, worker="w1", instance="i1", replica=number % 2)
        event = shard.event(command, "command.heartbeat", attempts=0)
        answer = await shard.send(execution_id, event)
        assert answer["status"] == 200
        state = await shard.state(execution_id)
        assert state is not None
        wanted = state["position"]

        def all_know(wanted: int = wanted) -> bool:
            copies = [rooms.cache.get(execution_id) for rooms in (first, second)]
            return all(
                copy is None or max(copy.newest, copy.execution.position) == wanted
                for copy in copies
            )

        await eventually(all_know)

    assert conflicts() == before
    assert len(read) <= 1


async def test_a_copy_that_cannot_catch_up_is_read_anew(shard: Shard) -> None:
    """A sibling sent a position that the log doesn't have, as after a restored database."""
    replica = await shard.open_replica(with_siblings=True, replicas_active_min=9)
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    replica.rooms.cache.note_newer(execution_id, 99)

    assert await shard.send(execution_id, shard.fast(command)) == {"status": "ok"}
    await shard.log(execution_id)


async def test_no_position_is_sent_without_siblings(shard: Shard) -> None:
    replica = await shard.open_replica(with_siblings=True, replicas_active_min=9)
    told: list[bytes] = []
    await shard.bus.subscribe("noetl_hint.moved.0", lambda message: told.append(message.data))

    await shard.start()

    assert not replica.rooms.replicas.are_there
    assert all(b'"moved":[]' in body for body in told)


def test_buckets_are_shared_evenly_and_only_those_of_a_change_move() -> None:
    three = _owners(["a", "b", "c"])
    four = _owners(["d", "c", "b", "a"])

    assert all(0.15 < four.count(name) / len(four) < 0.35 for name in "abcd")
    assert {new for old, new in zip(three, four, strict=True) if old != new} == {"d"}


def test_ids_made_one_after_the_other_are_spread() -> None:
    ids = [(1_000_000 * second << 22) + counter for second in range(50) for counter in range(40)]
    counts = Counter(bucket_of(one) for one in ids)
    assert len(counts) > 200
    assert max(counts.values()) < 40


async def test_w24_one_replica_decides_while_it_has_time_to_spare(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LoadMeter, "look", lambda _meter: Load(0.1, has_spare=True))
    first, second = [await shard.open_replica(with_siblings=True) for _ in range(2)]
    await eventually(lambda: first.rooms.replicas.are_there and not active(second))
    # Until then the other one decides what it has asked the broker for before.
    await eventually(lambda: is_at_its_door(first), what="the first listens to its buckets")

    ids = [await shard.start() for _ in range(10)]

    assert active(first)
    assert [first.rooms.cache.get(one) is not None for one in ids] == [True] * 10
    assert len(second.rooms.cache) == 0


async def test_w24_the_next_one_follows_when_the_owner_has_gone(shard: Shard) -> None:
    async with AsyncExitStack() as life:
        first = await shard.open_replica(loops=False)
        await life.enter_async_context(running_loops(first, with_siblings=True))
        second = await shard.open_replica(with_siblings=True)
        await eventually(lambda: first.rooms.replicas.are_there and not active(second))
        execution_id = await shard.start()

    command = await shard.command(execution_id)
    assert await shard.send(execution_id, shard.fast(command)) == {"status": "ok"}
    assert active(second)


async def test_w24_busy_owners_are_joined_and_idle_ones_relieved(shard: Shard) -> None:
    # Neither busy nor idle, however often they are shown until they know each other.
    load = 0.6
    has_spare = True
    siblings = [
        Replicas(
            shard.bus,
            ExecutionCache(max_executions=9, max_bytes=99),
            shard=7,
            look=lambda: Load(load, has_spare),
        )
        for _ in range(3)
    ]
    siblings.sort(key=lambda one: one.name)
    subscriptions = [found for one in siblings for found in await one.listen()]

    async def after_looks(count: int) -> list[bool]:
        for _ in range(count):
            for one in siblings:
                await one.show()
            await flush(shard.bus)
        return [one.is_active for one in siblings]

    await eventually(lambda: is_told(siblings), what="all know each other")
    load = 0.95
    assert await after_looks(1) == [True, False, False]
    assert await after_looks(4) == [True, True, False]
    assert await after_looks(4) == [True, True, True]
    load = 0.6
    assert await after_looks(25) == [True, True, True]
    load = 0.3
    assert await after_looks(50) == [True, True, False]
    load = 0.2
    assert await after_looks(21) == [True, False, False]
    assert await after_looks(30) == [True, False, False]
    # Where no core is free, more would only make turns smaller.
    load, has_spare = 0.95, False
    assert await after_looks(10) == [True, False, False]
    for subscription in subscriptions:
        await subscription.unsubscribe()


async def test_w23_one_that_has_left_comes_not_back_with_its_last_commits(shard: Shard) -> None:
    caches = [ExecutionCache(max_executions=9, max_bytes=99) for _ in range(2)]
    first, second = [Replicas(shard.bus, cache, shard=7) for cache in caches]
    noted: list[tuple[int, int]] = []
    caches[0].note_newer = lambda *moved: noted.append(moved)  # type: ignore[method-assign]
    subscriptions = [found for one in (first, second) for found in await one.listen()]
    await second.show()
    await eventually(lambda: first.are_there and second.are_there)

    second.leave()
    await second.forget_and_tell({5: 9})

    await eventually(lambda: noted == [(5, 9)])
    assert not first.are_there
    for subscription in subscriptions:
        await subscription.unsubscribe()


def active(replica: Replica) -> bool:
    return replica.rooms.replicas.is_active


async def is_told(siblings: Sequence[Replicas]) -> bool:
    """Announce the oldest to the others; return whether these know it."""
    await siblings[0].show()
    return all(one._active == [siblings[0].name] for one in siblings[1:])
