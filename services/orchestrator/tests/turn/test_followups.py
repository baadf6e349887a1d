"""Followups of the end of an execution: each once, as an outbox row of the end's commit."""

import orjson
from noetl_contract.access.principal import Principal
from noetl_contract.failures.ended import EndedTrigger
from noetl_contract.json import JsonObject
from noetl_testkit.waiting import eventually

from services.orchestrator.tests.playbooks import LINEAR
from services.orchestrator.tests.shard import Shard

FAILING = LINEAR.replace("name: linear, path: tests/linear", "name: fails, path: tests/fails") + (
    """
on_failure:
  playbook: tests/handler
  payload: {channel: ops}
  webhook: https://alerts.example/hook
"""
)
HANDLER = LINEAR.replace("name: linear, path: tests/linear", "name: h, path: tests/handler") + (
    "\non_failure: {playbook: tests/handler}\n"
)


async def fail(shard: Shard, execution_id: int) -> None:
    body = {"type": "finalize", "execution_id": execution_id, "status": "FAILED", "error": "no"}
    assert (await shard.send(execution_id, body))["status"] == 200


async def starts(shard: Shard) -> list[tuple[str, JsonObject]]:
    rows = await shard.pool.fetch(
        "SELECT subject, payload FROM noetl.outbox WHERE kind = 'message' ORDER BY outbox_id"
    )
    return [(row["subject"], orjson.loads(orjson.dumps(row["payload"]))) for row in rows]


async def test_a_failure_starts_its_handlers_in_the_commit_of_the_end(shard: Shard) -> None:
    await shard.open_replica()
    shard.start_message(HANDLER)
    failed = await shard.start(FAILING, path="tests/fails")
    await fail(shard, failed)

    (first, handler), (second, webhook) = await starts(shard)
    assert first.endswith(".execute")
    assert second.endswith(".execute")
    assert handler["path"] == "tests/handler"
    assert handler["idempotency_key"] == f"ended:{failed}:on_failure:tests/fails:playbook"
    assert handler["payload"]["channel"] == "ops"
    ended = handler["payload"]["ended"]
    assert (ended["execution_id"], ended["status"], ended["error"]) == (str(failed), "FAILED", "no")
    assert webhook["path"] == "noetl/webhook"
    assert webhook["payload"]["url"] == "https://alerts.example/hook"

    # However often it is published, it starts once.
    for _ in range(2):
        await shard.publish(handler["execution_id"], orjson.dumps(handler))
    await eventually(shard.ingress_is_empty)
    state = await shard.state(handler["execution_id"])
    assert (state["path"], state["status"]) == ("tests/handler", "RUNNING")
    assert state["parent_execution_id"] == failed
    first_event = await shard.pool.fetchval(
        "SELECT meta FROM noetl.event WHERE execution_id = $1 AND position = 1",
        handler["execution_id"],
    )
    assert first_event["depth"] == 1
    assert first_event["after"]["handles"] == ["on_failure:tests/fails"]


async def test_a_handler_that_fails_does_not_handle_itself(shard: Shard) -> None:
    await shard.open_replica()
    first = await shard.start(HANDLER, path="tests/handler")
    await fail(shard, first)
    (_, handler), *others = await starts(shard)
    assert others == []
    await shard.publish(handler["execution_id"], orjson.dumps(handler))
    await eventually(shard.ingress_is_empty)
    await fail(shard, handler["execution_id"])

    assert len(await starts(shard)) == 1


async def test_a_trigger_counts_for_its_paths_and_statuses(shard: Shard) -> None:
    replica = await shard.open_replica()
    shard.start_message(HANDLER)
    replica.rooms.triggers.known = (
        EndedTrigger(
            path="alerts/t", statuses=("CANCELLED",), under="tests", playbook="tests/handler"
        ),
        EndedTrigger(
            path="alerts/u", statuses=("CANCELLED",), under="test", playbook="tests/handler"
        ),
    )
    cancelled = await shard.start()
    await shard.send(cancelled, {"type": "cancel", "execution_id": cancelled})
    other = await shard.start()
    await fail(shard, other)

    ((_, started),) = await starts(shard)
    assert started["idempotency_key"] == f"ended:{cancelled}:alerts/t:playbook"
    await shard.publish(started["execution_id"], orjson.dumps(started))
    await eventually(shard.ingress_is_empty)
    await shard.send(
        started["execution_id"], {"type": "cancel", "execution_id": started["execution_id"]}
    )
    assert len(await starts(shard)) == 1, "it led there, so it doesn't count again"


async def test_what_cannot_be_started_is_told_and_blocks_nothing(shard: Shard) -> None:
    await shard.open_replica()
    failed = await shard.start(FAILING, path="tests/fails")
    await fail(shard, failed)
    (_, handler), _webhook = await starts(shard)

    answer = await shard.send(handler["execution_id"], orjson.dumps(handler))
    assert answer["status"] == 422
    assert answer["error"] == "Playbook not found: tests/handler"

    # The answer comes first, then the letter.
    await eventually(shard.ingress_is_empty)
    reasons = [
        next(value for name, value in headers.items() if name.lower().endswith("reason"))
        for headers, body in await shard.dead_letters()
        if orjson.loads(body)["execution_id"] == handler["execution_id"]
    ]
    assert reasons
    assert all(
        reason.endswith(
            f"could not start tests/handler after the end of {failed}: "
            "Playbook not found: tests/handler"
        )
        for reason in reasons
    )


async def test_a_trigger_s_start_never_leaves_the_namespace(shard: Shard) -> None:
    """Also a start whose playbook has no folder."""
    replica = await shard.open_replica()
    named = HANDLER.replace("path: tests/handler", "path: team-a")
    shard.start_message(named, path="team-a")
    ada = Principal(name="ada", kind="key", namespaces=("team-a", "tests"))
    replica.rooms.triggers.known = (
        EndedTrigger(path="team-a/t", statuses=("CANCELLED",), playbook="team-a", registrant=ada),
        EndedTrigger(path="team-a/u", statuses=("CANCELLED",), playbook="team-a"),
    )
    message = shard.start_message() | {"owner": "eve", "namespace": "tests"}
    await shard.send(message["execution_id"], message)
    cancel = {"type": "cancel", "execution_id": message["execution_id"]}
    await shard.send(message["execution_id"], cancel)

    found = [started for _, started in await starts(shard)]
    for started in found:
        await shard.publish(started["execution_id"], orjson.dumps(started))
    await eventually(shard.ingress_is_empty)
    kept = []
    for started in found:
        statement = "SELECT meta FROM noetl.event WHERE execution_id = $1 AND position = 1"
        meta = await shard.pool.fetchval(statement, started["execution_id"])
        kept.append((meta["owner"], meta["namespace"]))
    assert kept == [("ada", "team-a"), ("trigger:team-a/u", "team-a")]
