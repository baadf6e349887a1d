"""From the start of an execution to its end, over both protocols."""

from .conftest import LOOP, Shard

LINEAR_LOG = [
    "playbook_started",
    "command.issued",
    "command.claimed",
    "command.started",
    "call.done",
    "command.completed",
]


async def test_a_linear_playbook_runs_over_the_fast_path(shard: Shard) -> None:
    await shard.open_replica()

    execution_id = await shard.start()
    for _ in range(2):
        command = await shard.command(execution_id)
        held = await shard.send(execution_id, shard.fast(command, "command.start"))
        done = await shard.send(execution_id, shard.fast(command))
        assert ({"status": "held"}, {"status": "ok"}) == (held, done)

    types = await shard.types(execution_id)
    assert types[: len(LINEAR_LOG)] == LINEAR_LOG
    assert types[-1] == "playbook.completed"
    state = await shard.state(execution_id)
    assert state is not None
    assert (state["status"], state["position"], state["total_steps"]) == (
        "COMPLETED",
        len(types),
        2,
    )
    assert state["ended_at"] is not None
