"""W8: commits whose result is unknown."""

from noetl_pg.errors import DatabaseUnavailable

from services.orchestrator.tests.gates import Gate, finish
from services.orchestrator.tests.shard import Shard


async def test_w8_a_lost_commit_answer_leads_to_one_effect(shard: Shard) -> None:
    replica = await shard.open_replica()
    gate = Gate(replica)
    message = shard.start_message()
    execution_id = message["execution_id"]

    async def lose() -> None:
        gate.after = None
        raise DatabaseUnavailable(reason="the answer was lost")

    gate.after = lose
    start = await shard.send(execution_id, message)
    command = await shard.command(execution_id)
    gate.after = lose
    outcome = await shard.send(execution_id, shard.fast(command))
    gate.after = lose
    cancel = await shard.send(execution_id, {"type": "cancel", "execution_id": execution_id})

    assert start["body"]["status"] == "started"
    assert outcome == {"status": "ok"}
    assert (cancel["status"], cancel["body"]["status"]) == (200, "cancelled")
    types = await shard.types(execution_id)
    for once in ("playbook_started", "command.completed", "playbook_cancelled"):
        assert types.count(once) == 1


async def test_w8_a_failed_commit_leaves_no_ghost_in_memory(shard: Shard) -> None:
    """The decision went into memory, not into the database: it must be made again."""
    replica = await shard.open_replica()
    gate = Gate(replica)
    execution_id = await shard.start()
    command = await shard.command(execution_id)

    async def fail() -> None:
        gate.before = None
        raise DatabaseUnavailable(reason="not committed")

    commits = gate.commits
    gate.before = fail
    answer = await shard.send(execution_id, shard.fast(command))

    assert answer == {"status": "ok"}
    # The failed commit, and the next: no third because the memory was ahead of the log.
    assert gate.commits == commits + 2
    await finish(shard, execution_id)
    types = await shard.types(execution_id)
    assert types.count("command.completed") == 2
    assert types[-1] == "playbook.completed"
