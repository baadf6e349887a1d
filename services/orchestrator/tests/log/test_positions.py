"""W12: all rows of a log share one sequence of positions."""

from services.orchestrator.tests.shard import Shard


async def test_w12_whatever_appends_takes_the_next_position(shard: Shard) -> None:
    """Events, batches, claims, cancels, finalize, failures without fold: one gapless order."""
    await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)
    await shard.claim(command)
    await shard.send(execution_id, shard.event(command, "command.started", attempts=0))
    batch = [{"event_type": "note.taken", "step": "start"} for _ in range(3)]
    await shard.send(
        execution_id,
        {"type": "events", "execution_id": execution_id, "batch": True, "events": batch},
    )
    await shard.send(
        execution_id, {"type": "finalize", "execution_id": execution_id, "status": "COMPLETED"}
    )
    await shard.send(execution_id, shard.event(command, "call.done", attempts=0))

    types = await shard.types(execution_id)  # checks that positions are gapless
    state = await shard.state(execution_id)
    assert state is not None
    assert state["position"] == len(types) == 9
    assert types[-2:] == ["playbook_completed", "call.done"]
