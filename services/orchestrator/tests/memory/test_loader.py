"""W11: executions are read from a snapshot and the rows after it."""

from collections.abc import Sequence

from noetl_contract.events import EventRow
from noetl_orchestrator.log.commit_parameters import CommitParameters
from noetl_orchestrator.log.stored_rows import Committed
from noetl_testkit.waiting import eventually

from services.orchestrator.tests.gates import finish
from services.orchestrator.tests.playbooks import LOOP
from services.orchestrator.tests.shard import Shard


async def test_w11_a_restart_reads_snapshot_and_tail_only(shard: Shard) -> None:
    first = await shard.open_replica(snapshot_min_events=8)
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    for _ in range(30):
        await shard.send(execution_id, shard.event(command, "command.heartbeat"))
    state = await shard.state(execution_id)
    assert state is not None
    assert state["snapshot_position"] >= 8
    first.rooms.cache.forget(execution_id)
    read: list[tuple[int, int, int]] = []
    load_tails = first.rooms.store.load_tails

    async def counting(spans: Sequence[tuple[int, int, int]]) -> dict[int, list[EventRow]]:
        read.extend(spans)
        return await load_tails(spans)

    first.rooms.store.load_tails = counting
    await finish(shard, execution_id)

    assert (await shard.types(execution_id))[-1] == "playbook.completed"
    for _, known, wanted in read:
        assert known >= 8
        assert wanted - known < 20


async def test_w11_snapshots_cost_no_more_than_the_events_they_replace(shard: Shard) -> None:
    """The bytes of all snapshots stay in proportion to those of the events.

    The state is large, for it knows the open commands, and the events are small.
    """
    replica = await shard.open_replica(snapshot_min_events=4)
    sizes: list[int] = []
    commit = replica.rooms.store.commit_turn

    async def measuring(parameters: CommitParameters) -> Committed:
        sizes.extend(len(state) for state in parameters.snapshots)
        return await commit(parameters)

    replica.rooms.store.commit_turn = measuring
    execution_id = await shard.start(LOOP, payload={"items": list(range(100))})
    command, *_ = await shard.open_commands(execution_id)
    before = len(await shard.log(execution_id))
    sizes.clear()
    for _ in range(60):
        await shard.send(execution_id, shard.event(command, "command.heartbeat"))

    event_bytes = await shard.pool.fetchval(
        "SELECT sum(200 + length(coalesce(meta::text, '')) + length(coalesce(result::text, ''))"
        " + length(coalesce(note::text, ''))) FROM noetl.event WHERE position > $1",
        before,
    )
    assert sizes
    assert sum(sizes) < 3 * event_bytes


async def test_w11_a_snapshot_of_another_release_is_not_needed(shard: Shard) -> None:
    replica = await shard.open_replica(snapshot_min_events=4)
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    for _ in range(8):
        await shard.send(execution_id, shard.event(command, "command.heartbeat"))
    await shard.pool.execute("UPDATE noetl.execution_snapshot SET state = $1", b'{"format": 999}')
    replica.rooms.cache.forget(execution_id)

    await finish(shard, execution_id)

    assert (await shard.types(execution_id))[-1] == "playbook.completed"


async def test_w11_indexed_columns_of_the_state_row_change_at_start_and_end_only(
    shard: Shard,
) -> None:
    await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    await shard.pool.execute("SELECT pg_stat_reset()")

    async def all_hot() -> bool:
        # The server counts a second's work at the next commit, so there has to be one.
        await shard.send(execution_id, shard.event(command, "command.heartbeat"))
        row = await shard.pool.fetchrow(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
            " WHERE relname = 'execution_state'"
        )
        assert row is not None
        return bool(row["n_tup_upd"] >= 8 and row["n_tup_upd"] == row["n_tup_hot_upd"])

    await eventually(all_hot, what="all updates are heap only", every_seconds=0.1)
