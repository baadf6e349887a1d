"""W4: every message gets an answer, repeated ones the first answer."""

import orjson
from noetl_contract.ingress import REPLY_HEADER
from noetl_testkit.waiting import eventually

from services.orchestrator.tests.messages import Command
from services.orchestrator.tests.shard import Shard


async def test_w4_garbage_is_answered_and_kept_with_its_reason(shard: Shard) -> None:
    await shard.open_replica()
    execution_id = shard.ids.next()

    for body in (b"not json", b'{"type": "nonsense"}', b"", b"[1]"):
        answer = await shard.send(execution_id, body)
        assert (answer["status"], answer["body"]) == (422, None)
        assert answer["error"]

    # The answers come first, then the letters.
    await eventually(shard.ingress_is_empty)
    letters = await shard.dead_letters()
    assert [body for _, body in letters] == [b"not json", b'{"type": "nonsense"}', b"", b"[1]"]
    assert all(any("can't be read" in v for v in headers.values()) for headers, _ in letters)


async def test_data_nested_too_deep_is_refused_and_keeps_nobody_waiting(shard: Shard) -> None:
    await shard.open_replica()

    statuses = {}
    for levels in (190, 240, 600, 1500):
        message = shard.start_message(payload={"deep": "HERE"})
        body = orjson.dumps(message).replace(b'"HERE"', b"[" * levels + b"]" * levels)
        answer = await shard.send(message["execution_id"], body)
        statuses[levels] = (answer["status"], "recursion limit" in (answer["error"] or ""))
        if answer["status"] == 200:
            command = await shard.command(message["execution_id"])
            assert await shard.send(command.execution_id, shard.fast(command)) == {"status": "ok"}

    assert statuses == {190: (200, False)} | dict.fromkeys((240, 600, 1500), (422, True))
    await shard.start()


async def test_w4_a_lost_answer_is_given_again(shard: Shard) -> None:
    """The answer to the first try is dropped; the same start and outcome are sent again."""
    await shard.open_replica()
    message = shard.start_message()
    execution_id = message["execution_id"]
    await shard.publish(execution_id, message)
    await eventually(shard.ingress_is_empty)

    start = await shard.send(execution_id, message)
    command = await shard.command(execution_id)
    outcome = shard.fast(command)
    await shard.publish(execution_id, outcome)
    await eventually(shard.ingress_is_empty)
    again = await shard.send(execution_id, outcome)

    assert start["body"] == {
        "execution_id": str(execution_id),
        "status": "started",
        "commands_generated": 1,
    }
    assert again == {"status": "ok"}
    types = await shard.types(execution_id)
    assert (types.count("playbook_started"), types.count("command.completed")) == (1, 1)


async def test_each_message_is_acknowledged(shard: Shard) -> None:
    await shard.open_replica()
    execution_id = await shard.start()
    command = Command(execution_id, 1, "x", "start")

    await shard.publish(execution_id, shard.fast(command), headers={REPLY_HEADER: ""})

    await eventually(shard.ingress_is_empty)
