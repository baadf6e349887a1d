"""Containers that wait for a callback, and cursors whose rows are read again from the log."""

from noetl_contract.json import Json, JsonObject
from noetl_orchestrator.leases.timers import take_due_timers
from noetl_testkit.waiting import eventually

from services.orchestrator.tests.messages import Command
from services.orchestrator.tests.shard import Shard

CONTAINER = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: parked, path: tests/parked}
workflow:
  - step: start
    tool: {kind: container, image: x}
    next: {arcs: [{step: last}]}
  - step: last
    tool: {kind: noop, seen: "{{ start.terminal_state }}"}
"""

CURSOR = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: cursor, path: tests/cursor}
workflow:
  - step: start
    tool: {kind: noop}
    next: {arcs: [{step: cur}]}
  - step: cur
    loop:
      iterator: row
      cursor: {kind: postgres, auth: pg, claim: "SELECT {{ __frame_max_rows }}"}
      spec: {mode: cursor, frame: {max_rows: 2, row_concurrency: 1}}
    tool: {kind: python, code: "result = row"}
    next: {arcs: [{step: last}]}
  - step: last
    tool: {kind: noop, frames: "{{ cur.frames }}", sum: "{{ sum | default(0) }}"}
"""


def leave(shard: Shard, command: Command) -> JsonObject:
    """The worker's last word about a job that runs on."""
    message = shard.fast(command)
    started, _, completed = message["events"]
    return {**message, "events": [started, completed]}


def callback(shard: Shard, execution_id: int, state: str = "succeeded") -> JsonObject:
    return {
        "type": "events",
        "execution_id": execution_id,
        "idempotency_key": f"callback:start:job-1:{state}",
        "events": [
            {
                "event_type": "call.done",
                "step": "start",
                "event_id": shard.ids.next(),
                "status": "COMPLETED" if state == "succeeded" else "FAILED",
                "context": {"terminal_state": state, "job_name": "job-1"},
                "meta": {"node_type": "container"},
            }
        ],
    }


async def context_of(shard: Shard, command: Command) -> Json:
    return await shard.pool.fetchval(
        "SELECT context -> 'tool_config' FROM noetl.event WHERE event_id = $1", command.event_id
    )


async def test_a_parked_command_has_no_holder_until_its_callback(shard: Shard) -> None:
    replica = await shard.open_replica()
    execution_id = await shard.start(CONTAINER)
    command = await shard.command(execution_id)
    assert await shard.send(execution_id, leave(shard, command)) == {"status": "ok"}
    row = await shard.command_row(command)
    assert (row["status"], row["worker_id"], row["lease_until"]) == ("RUNNING", None, None)

    replica.rooms.cache.forget(execution_id)
    first = await shard.send(execution_id, callback(shard, execution_id))
    again = await shard.send(execution_id, callback(shard, execution_id))

    assert again["body"]["event_id"] == first["body"]["event_id"]
    last = await shard.command(execution_id)
    assert last.step == "last"
    assert (await context_of(shard, last))["seen"] == "succeeded"
    assert (await shard.command_row(command))["status"] == "COMPLETED"
    assert (await shard.types(execution_id)).count("call.done") == 1


async def test_a_callback_that_never_comes_ends_the_step(shard: Shard) -> None:
    replica = await shard.open_replica(callback_timeout_seconds=0.001, timer_lease_seconds=0.1)
    execution_id = await shard.start(CONTAINER)
    await shard.send(execution_id, leave(shard, await shard.command(execution_id)))
    replica.rooms.cache.forget(execution_id)

    async def has_failed() -> bool:
        rooms = replica.rooms
        await take_due_timers(rooms.store, rooms.dispatcher, replica.settings)
        return "playbook.failed" in await shard.types(execution_id)

    await eventually(has_failed)
    assert await shard.pool.fetch("SELECT * FROM noetl.timer") == []


async def test_a_cursor_goes_on_from_the_log(shard: Shard) -> None:
    replica = await shard.open_replica(snapshot_min_events=1)
    execution_id = await shard.start(CURSOR)
    claims = [[{"id": 1}, {"id": 2}], [{"id": 3}], []]
    steps = []
    while (command := await shard.command(execution_id)).step != "last":
        data: Json = {"task": {}, "_context_updates": {"ctx.sum": len(steps)}}
        if command.step == "cur" and not command.command_id.rpartition(":i")[1]:
            data = {"rows": claims.pop(0)}
        steps.append(command.command_id.rsplit(":", 1)[1].lstrip("0123456789") or command.step)
        replica.rooms.cache.forget(execution_id)
        await shard.send(execution_id, shard.fast(command, data={"data": data}))

    assert steps == ["start", "cur", "i0", "i1", "cur", "i0", "cur"]
    assert await context_of(shard, command) == {"frames": 2, "sum": 5}
