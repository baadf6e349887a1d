"""The state row holds the digest of the log, by any of its writers."""

from noetl_common.crypto.chain import Chain
from noetl_contract.events import EventRow
from noetl_contract.json import Json
from noetl_pg.sql.queries import Queries

from services.orchestrator.tests.gates import finish
from services.orchestrator.tests.playbooks import LOOP
from services.orchestrator.tests.shard import Shard

_READ = Queries.parse("""
-- name: read_log
SELECT {log_row}
FROM noetl.event AS e
WHERE e.execution_id = $1
ORDER BY e.position
""")
AWKWARD: Json = {"b": 1e16, "a": [-0.0, 1e-7, 0.1 + 0.2], "ü": "e5\t"}


async def computed(shard: Shard, execution_id: int) -> Chain:
    """Return the chain of the stored log."""
    chain = Chain()
    rows = await shard.pool.fetch(_READ["read_log"], execution_id)
    assert chain.extend(EventRow(**row) for row in rows)
    return chain


async def kept(shard: Shard, execution_id: int) -> Chain:
    state = await shard.state(execution_id)
    assert state is not None
    return Chain(state["digest_position"], state["digest"])


async def test_the_digest_is_that_of_the_stored_log(shard: Shard) -> None:
    await shard.open_replica()
    execution_id = await shard.start(LOOP, payload={"items": [1, 2, AWKWARD]})
    first = await shard.open_commands(execution_id)
    await shard.send(execution_id, shard.fast(first[0], data=AWKWARD))
    await finish(shard, execution_id)
    chain = await kept(shard, execution_id)
    assert chain == await computed(shard, execution_id)
    assert chain.position == len(await shard.types(execution_id))


async def test_replicas_go_on_with_one_chain(shard: Shard) -> None:
    """Also over rows without a decision, and from a snapshot."""
    await shard.open_replica(snapshot_min_events=4)
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    for _ in range(6):
        await shard.send(execution_id, shard.event(command, "command.heartbeat"))
    # As a row that is written without a decision: it moves the log, and not the chain.
    await shard.pool.execute(
        """
        WITH moved AS (
            UPDATE noetl.execution_state SET position = position + 1
            WHERE execution_id = $1 RETURNING position
        )
        INSERT INTO noetl.event (execution_id, catalog_id, event_id, event_type, position, meta)
        SELECT $1, 1, 5, 'note.taken', position, '{"n": 1e30}' FROM moved
        """,
        execution_id,
    )
    shard.rooms.cache.forget(execution_id)
    await finish(shard, execution_id)
    assert await kept(shard, execution_id) == await computed(shard, execution_id)


async def test_after_a_gap_the_digest_stays_where_it_was(shard: Shard) -> None:
    """A log without a digest gets none in the middle."""
    await shard.open_replica()
    execution_id = await shard.start()
    await shard.pool.execute(
        "UPDATE noetl.execution_state SET digest = NULL, digest_position = NULL"
        " WHERE execution_id = $1",
        execution_id,
    )
    shard.rooms.cache.forget(execution_id)
    await finish(shard, execution_id)
    state = await shard.state(execution_id)
    assert state is not None
    assert state["digest"] is None
    assert state["status"] == "COMPLETED"
