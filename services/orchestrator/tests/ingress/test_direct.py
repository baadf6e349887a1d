"""W21: writes that come past the ingress stream."""

import orjson
from noetl_contract.ingress import REPLY_HEADER
from noetl_contract.json import JsonObject
from noetl_contract.subjects import IngressKind, direct_subject, ingress_subject
from noetl_orchestrator.ingress.direct import run_direct
from noetl_testkit.bus import flush, running
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

from services.orchestrator.tests.shard import Shard


async def ask(shard: Shard, message: JsonObject, *, kind: IngressKind = "execute") -> JsonObject:
    """Send a write past the stream until it is answered, as the edge does."""
    ingress = ingress_subject(0, execution_id=message["execution_id"], kind=kind)
    with shard.bus.inbox().expect() as waiter:

        async def is_answered() -> bool:
            headers = {REPLY_HEADER: waiter.subject}
            await shard.bus.send(direct_subject(ingress), orjson.dumps(message), headers)
            return waiter.answer.done()

        await eventually(is_answered, what="it is answered", every_seconds=0.05)
        answer: JsonObject = orjson.loads(await waiter.wait(PATIENCE_SECONDS))
    return answer


async def test_w21_a_write_past_the_stream_is_committed_once(shard: Shard) -> None:
    replica = await shard.open_replica()
    message = shard.start_message()
    execution_id = message["execution_id"]

    async with running(
        run_direct(replica.bus, replica.rooms.on_batch, shard=0, window=100, queue="test")
    ):
        past = await ask(shard, message)
        # The copy that the stream took all the same, and came out with later.
        again = await shard.send(execution_id, message)

    assert past["status"] == again["status"] == 200
    assert past["body"] == again["body"]
    assert (await shard.types(execution_id)).count("playbook_started") == 1
    await eventually(shard.ingress_is_empty)


async def test_w21_what_is_no_write_is_answered_and_kept_with_its_reason(shard: Shard) -> None:
    replica = await shard.open_replica()

    async with running(
        run_direct(replica.bus, replica.rooms.on_batch, shard=0, window=1, queue="test")
    ):
        answer = await ask(shard, {"type": "nonsense", "execution_id": shard.ids.next()})
        await eventually(shard.dead_letters, what="the letter comes behind the answer")

    assert answer["status"] == 422
    # It is sent until it is answered, so that more than one copy may have been heard.
    for headers, body in await shard.dead_letters():
        assert b"nonsense" in body
        assert "can't be read" in headers["Noetl-Dead-Reason"]


async def test_w21_more_than_the_window_is_left_to_the_stream(shard: Shard) -> None:
    replica = await shard.open_replica()
    message = shard.start_message()
    ingress = ingress_subject(0, execution_id=message["execution_id"], kind="execute")
    handler = replica.rooms.on_batch

    async with running(run_direct(replica.bus, handler, shard=0, window=0, queue="test")):
        with shard.bus.inbox().expect() as waiter:
            headers = {REPLY_HEADER: waiter.subject}
            await shard.bus.send(direct_subject(ingress), orjson.dumps(message), headers)
            await flush(shard.bus)
            await flush(replica.bus)
            assert not waiter.answer.done()
        assert handler.under_way == 0
    assert await shard.types(message["execution_id"]) == []


async def test_w27_people_are_heard_when_the_window_is_full(shard: Shard) -> None:
    replica = await shard.open_replica()
    execution_id = await shard.start()
    handler = replica.rooms.on_batch
    command = await shard.command(execution_id)
    message = {"type": "cancel", "execution_id": execution_id}
    handler.begun()  # one message of the stream waits for its turn: no others are taken

    async with running(run_direct(replica.bus, handler, shard=0, window=1, queue="test")):
        dropped = shard.fast(command)
        ingress = ingress_subject(0, execution_id=execution_id, kind="outcome")
        await shard.bus.send(direct_subject(ingress), orjson.dumps(dropped))
        answer = await ask(shard, message, kind="cancel")
    handler.finished()

    assert answer["body"]["status"] == "cancelled"
    assert "call.done" not in await shard.types(execution_id)
