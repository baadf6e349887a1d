"""Messages that the ingress reads or refuses."""

from noetl_testkit.waiting import eventually

from services.orchestrator.tests.shard import Shard


async def test_w2_nul_characters_that_come_past_the_edge_are_replaced(shard: Shard) -> None:
    await shard.open_replica()
    execution_id = await shard.start()
    command = await shard.command(execution_id)

    message = shard.fast(command, data={"data": {"text": "a\0b", "slash": "\\u0000"}})
    assert await shard.send(execution_id, message) == {"status": "ok"}

    (done,) = [row for row in await shard.log(execution_id) if row["event_type"] == "call.done"]
    data = done["result"]["context"]["result"]["context"]["data"]
    assert data == {"text": "a\ufffdb", "slash": "\\u0000"}


async def test_s4_a_message_of_another_shard_begins_no_second_log(shard: Shard) -> None:
    await shard.open_replica()
    message = shard.start_message()
    execution_id = message["execution_id"]
    other = shard.ids.next()

    answer = await shard.send(execution_id, message, subject=f"noetl_ingress.0.{other}.execute")

    assert answer["status"] == 422
    assert await shard.state(execution_id) is None
    # The answer comes first, then the letter.
    await eventually(shard.ingress_is_empty)
    ((headers, _),) = await shard.dead_letters()
    assert any("is not that of execution" in value for value in headers.values())


async def test_a_message_on_the_subject_of_another_kind_is_refused(shard: Shard) -> None:
    """A login that may publish outcomes only must not cancel with them."""
    await shard.open_replica()
    execution_id = await shard.start()
    cancel = {"type": "cancel", "execution_id": execution_id}

    answer = await shard.send(
        execution_id, cancel, subject=f"noetl_ingress.0.{execution_id}.outcome"
    )

    assert answer["status"] == 422
    assert "is not that of a message cancel" in answer["error"]
    assert (await shard.state(execution_id))["status"] == "RUNNING"


async def test_w19_keys_of_a_scope_are_known_whoever_the_parent_is(shard: Shard) -> None:
    """A subscription that is registered anew has another id; its messages are the same."""
    await shard.open_replica()
    key = {"dedup_key": "m-1", "dedup_scope": "sales/orders"}
    messages = [
        shard.start_message() | key,
        shard.start_message() | key | {"parent_execution_id": shard.ids.next()},
        shard.start_message() | key | {"dedup_scope": "sales/others"},
        shard.start_message() | {"dedup_key": "m-1"},
    ]

    answers = [(await shard.send(one["execution_id"], one))["body"]["status"] for one in messages]

    assert answers == ["started", "duplicate", "started", "started"]
