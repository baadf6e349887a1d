"""Replicas keep each other's copies fresh; correctness doesn't need it, speed does."""

from collections.abc import Sequence

from noetl_orchestrator import metrics
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.log.stored_rows import LoadedExecution
from noetl_testkit.waiting import eventually

from services.orchestrator.tests.shard import Shard


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


async def test_an_outdated_copy_reads_only_the_rows_that_are_new(shard: Shard) -> None:
    for _ in range(2):
        await shard.open_replica()
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
    """Somebody told of a position that the log doesn't have, as after a restored database."""
    replica = await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    replica.rooms.cache.note_newer(execution_id, 99)

    assert await shard.send(execution_id, shard.fast(command)) == {"status": "ok"}
    await shard.log(execution_id)


async def test_no_position_is_sent_without_siblings(shard: Shard) -> None:
    replica = await shard.open_replica()
    told: list[bytes] = []
    await shard.bus.subscribe("noetl_hint.moved.0", lambda message: told.append(message.data))

    await shard.start()

    assert not replica.rooms.replicas.are_there
    assert all(b'"moved":[]' in body for body in told)
