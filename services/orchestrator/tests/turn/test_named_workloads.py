"""A large workload is in the log once; claims of commands return it whole, or once."""

from typing import Any

import orjson
import pytest
from msgspec import convert
from noetl_contract.commands import NAMED, CommandNotification, named_position, whole_context
from noetl_contract.ingress import NEXT_HEADER, NEXT_NAMED, REPLY_HEADER
from noetl_contract.json import JsonObject
from noetl_testkit.waiting import eventually

from services.orchestrator.tests.messages import Command
from services.orchestrator.tests.playbooks import LINEAR
from services.orchestrator.tests.shard import Shard

ROWS = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: rows, path: tests/rows}
workload: {rows: []}
workflow:
  - step: start
    loop: {in: "{{ workload.rows }}", iterator: row, spec: {mode: parallel, max_in_flight: 2}}
    tool: {kind: noop}
"""


def rows(count: int) -> list[JsonObject]:
    """Return rows of some 75 bytes."""
    return [
        {"id": n, "name": f"customer {n:06}", "mail": f"{n:06}@example.org"} for n in range(count)
    ]


async def opened(shard: Shard, **settings: Any) -> None:
    """Open a replica that has found out that it is alone."""
    replica = await shard.open_replica(with_siblings=True, **settings)
    await shard.read_by_one(replica)


async def stored(shard: Shard, command: Command) -> JsonObject:
    """Return the context of a command in the log."""
    context: JsonObject = await shard.pool.fetchval(
        "SELECT context FROM noetl.event WHERE execution_id = $1 AND event_id = $2",
        command.execution_id,
        command.event_id,
    )
    return context


def published(shard: Shard, command: Command) -> JsonObject | None:
    """Return the notification of a command, once it is published."""
    return next((one["body"] for one in shard.notifications(command)), None)


async def ask(shard: Shard, message: JsonObject, wish: str) -> JsonObject:
    """Send an outcome whose worker has room for a command, and return the answer."""
    with shard.bus.inbox().expect() as waiter:
        headers = {REPLY_HEADER: waiter.subject, NEXT_HEADER: wish}
        await shard.publish(message["execution_id"], message, headers=headers)
        answer: JsonObject = orjson.loads(await waiter.wait(60))
    return answer


async def test_the_log_has_the_payload_once_and_claims_have_it_whole(shard: Shard) -> None:
    await opened(shard)
    execution_id = await shard.start(ROWS, payload={"rows": rows(1000)})
    first, second = await shard.open_commands(execution_id)

    size = await shard.pool.fetchval(
        "SELECT sum(length(context::TEXT)) FROM noetl.event"
        " WHERE execution_id = $1 AND event_type = 'command.issued'",
        execution_id,
    )
    answer = await shard.claim(second, worker="theirs")

    assert size < 2 * 1500
    assert answer["status"] == 200, answer
    body = answer["body"]
    assert not {"workload", "fast"} & body.keys()
    assert set(body["context"]) == {"tool_config", "args", "render_context"}
    scope = body["context"]["render_context"]
    assert scope["workload"] == scope["ctx"]["workload"] == {"rows": rows(1000)}
    assert scope["rows"] == scope["ctx"]["rows"] == rows(1000)
    assert scope["row"] == scope["ctx"]["row"] == scope["iter"]["row"] == rows(1000)[1]
    assert named_position(await stored(shard, first)) == 1


async def test_another_replica_fills_in_what_it_has_read_from_the_log(shard: Shard) -> None:
    await opened(shard)
    execution_id = await shard.start(ROWS, payload={"rows": rows(300)})
    command, other = await shard.open_commands(execution_id)
    await shard.open_replica()

    whole = await shard.claim(command, replica=1)
    short = await shard.claim(other, instance="i1", known_workload=0, replica=1)

    assert whole["body"]["context"]["render_context"]["workload"] == {"rows": rows(300)}
    assert short["body"]["workload"] == {"rows": rows(300)}
    filled = whole_context(short["body"]["context"], short["body"]["workload"])
    assert filled["render_context"]["row"] == rows(300)[1]


async def test_the_same_hold_again_has_what_is_missing(shard: Shard) -> None:
    """The first answer was lost, and with it the workload."""
    await opened(shard)
    execution_id = await shard.start(ROWS, payload={"rows": rows(300)})
    command, _ = await shard.open_commands(execution_id)

    for _ in range(2):
        answer = await shard.claim(command, instance="i1", known_workload=0)
        assert answer["body"]["workload"] == {"rows": rows(300)}
    known = await shard.claim(command, instance="i1", known_workload=1)
    assert "workload" not in known["body"]
    assert len(orjson.dumps(known["body"])) < 2500


async def test_a_large_payload_travels_by_its_name(shard: Shard) -> None:
    await opened(shard)
    execution_id = await shard.start(ROWS, payload={"rows": rows(2000)})
    command, _ = await shard.open_commands(execution_id)

    await eventually(lambda: published(shard, command))

    body = published(shard, command)
    assert body is not None
    assert "command" not in body["fast"]
    fast = convert(body, CommandNotification).fast
    assert fast is not None
    assert fast.until is not None
    assert fast.named is not None
    assert named_position(fast.named.context) == 1
    assert len(orjson.dumps(body)) < 2500


async def test_one_that_fits_into_its_message_travels_whole(shard: Shard) -> None:
    """Its worker needs to know of nothing; the log has the short form nevertheless."""
    await opened(shard)
    execution_id = await shard.start(ROWS, payload={"rows": rows(100)})
    command, _ = await shard.open_commands(execution_id)

    await eventually(lambda: published(shard, command))

    body = published(shard, command)
    assert body is not None
    context = body["fast"]["command"]["context"]
    assert context["render_context"]["workload"] == {"rows": rows(100)}
    assert NAMED in await stored(shard, command)


@pytest.mark.parametrize(("wish", "comes"), [(NEXT_NAMED, True), ("1", False)])
async def test_it_comes_with_an_answer_to_workers_that_read_names(
    shard: Shard, *, wish: str, comes: bool
) -> None:
    await opened(shard)
    execution_id = await shard.start(LINEAR, payload={"text": "x" * 100_000})
    command = await shard.command(execution_id)

    answer = await ask(shard, shard.fast(command), wish)

    assert answer["status"] == "ok"
    assert ("next" in answer) is comes
    following = await shard.command(execution_id)
    if comes:
        assert named_position(answer["next"]["fast"]["named"]["context"]) == 1
    else:
        await eventually(lambda: published(shard, following))


async def test_without_the_setting_each_command_repeats_the_workload(shard: Shard) -> None:
    await opened(shard, repeated_workload_bytes=0)
    execution_id = await shard.start(ROWS, payload={"rows": rows(300)})
    command, _ = await shard.open_commands(execution_id)

    context = await stored(shard, command)

    assert NAMED not in context
    assert context["render_context"]["workload"] == {"rows": rows(300)}
