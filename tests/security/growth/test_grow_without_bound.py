"""Playbooks that start themselves, and arcs that lead to themselves."""

from noetl_contract.json import JsonObject

from services.orchestrator.tests.gates import finish
from services.orchestrator.tests.shard import Shard

_CIRCLE = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: circle, path: growth/circle}
workflow:
  - step: start
    tool: {kind: noop}
    next:
      arcs:
        - step: again
  - step: again
    tool: {kind: noop}
    next:
      arcs:
        - step: again
"""


async def _start_child(shard: Shard, parent: int, **fields: object) -> JsonObject:
    message = shard.start_message(parent_execution_id=parent, **fields)
    answer = await shard.send(message["execution_id"], message)
    return {**answer, "execution_id": message["execution_id"]}


async def test_generations_end_at_the_limit_by_name(shard: Shard) -> None:
    await shard.open_replica(child_depth_max=3)
    parents = [await shard.start(owner="ada", namespace="team-a/")]

    for _ in range(3):
        child = await _start_child(shard, parents[-1])
        assert child["status"] == 200
        parents.append(child["execution_id"])
    refused = await _start_child(shard, parents[-1])

    assert refused["status"] == 422
    assert "NOETL_CHILD_DEPTH_MAX" in refused["error"]
    assert await shard.state(refused["execution_id"]) is None
    meta = (await shard.log(parents[-1]))[0]["meta"]
    assert (meta["root_execution_id"], meta["depth"]) == (str(parents[0]), 3)
    assert (meta["owner"], meta["namespace"]) == ("ada", "team-a/")


async def test_a_family_ends_at_its_number_and_other_families_go_on(shard: Shard) -> None:
    await shard.open_replica(family_executions_max=5)
    root, other = await shard.start(), await shard.start()
    first = (await _start_child(shard, root))["execution_id"]
    again = shard.start_message(parent_execution_id=root, execution_id=first)

    answers = [await _start_child(shard, first) for _ in range(6)]
    repeated = await shard.send(first, again)
    elsewhere = await _start_child(shard, other)

    assert [answer["status"] for answer in answers] == [200] * 4 + [422] * 2
    assert "NOETL_FAMILY_EXECUTIONS_MAX" in answers[-1]["error"]
    assert (repeated["status"], elsewhere["status"]) == (200, 200)


async def test_an_arc_to_itself_ends_at_the_limit_by_name(shard: Shard) -> None:
    await shard.open_replica(execution_steps_max=20)
    endless = await shard.start(_CIRCLE)

    await finish(shard, endless)

    state = await shard.state(endless)
    assert state is not None
    assert state["status"] == "FAILED"
    assert "NOETL_EXECUTION_STEPS_MAX" in state["error"]
    types = await shard.types(endless)
    assert types.count("command.issued") == 20
    assert await shard.open_commands(endless) == []


async def test_a_cancel_with_cascade_reaches_what_an_ended_root_left_running(shard: Shard) -> None:
    await shard.open_replica()
    root = await shard.start()
    middle = (await _start_child(shard, root))["execution_id"]
    leaves = [(await _start_child(shard, middle))["execution_id"] for _ in range(2)]
    await finish(shard, middle)
    await finish(shard, root)

    cancel = {"type": "cancel", "execution_id": root, "cascade": True}
    answer = await shard.send(root, cancel)
    rows = await shard.pool.fetch(
        "SELECT execution_id, payload FROM noetl.outbox WHERE kind = 'message'"
    )
    for row in rows:
        await shard.send(row["execution_id"], row["payload"])
    again = await shard.send(root, cancel)
    plain = await shard.send(root, {**cancel, "cascade": False})

    assert answer["status"] == 200
    assert answer["body"]["cancelled_executions"] == [str(leaf) for leaf in sorted(leaves)]
    for leaf in leaves:
        state = await shard.state(leaf)
        assert state is not None
        assert state["status"] == "CANCELLED"
    assert [again["status"], plain["status"]] == [422, 422]
