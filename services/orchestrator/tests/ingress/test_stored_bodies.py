"""Messages that stand for one too large for the broker (W13)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest
from noetl_bus.rpc import handle, serve_rpc
from noetl_contract.ingress import REPLY_HEADER, STORED_HEADER, StoredMessage
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.projector import RESULT_RESOLVE, ResultRef
from noetl_contract.subjects import ingress_subject
from noetl_testkit.waiting import eventually

from services.orchestrator.tests.shard import Shard

REF = "noetl://execution/1/result/ingress/2"


@pytest.fixture
async def shard(shard: Shard) -> Shard:
    """A shard with one replica."""
    await shard.open_replica()
    return shard


@asynccontextmanager
async def result_store(shard: Shard, *answers: Json | Refusal) -> AsyncIterator[list[ResultRef]]:
    """Give one answer after the other, the last one for ever; yield the requests."""
    asked: list[ResultRef] = []

    async def resolve(request: ResultRef) -> Json | Refusal:
        asked.append(request)
        return answers[min(len(asked), len(answers)) - 1]

    async with serve_rpc(shard.bus, [handle(RESULT_RESOLVE, resolve)], queue="t", shard=0):
        yield asked


async def send(shard: Shard, execution_id: int, **fields: Json) -> JsonObject:
    """Put a message on the ingress that stands for another, and return the answer."""
    stored = StoredMessage(execution_id=execution_id, ref=REF, size=1)
    body = stored.plain() | fields
    with shard.bus.inbox().expect() as waiter:
        headers = {REPLY_HEADER: waiter.subject, STORED_HEADER: "1"}
        subject = ingress_subject(0, execution_id=execution_id, kind="execute")
        await shard.publish(execution_id, body, headers=headers, subject=subject)
        answer: JsonObject = orjson.loads(await waiter.wait(15))
    return answer


async def test_the_message_it_stands_for_is_handled(shard: Shard) -> None:
    message = shard.start_message(payload={"message": "\u0000big" * 20_000})

    async with result_store(shard, message) as asked:
        answer = await send(shard, message["execution_id"])

    assert answer["status"] == 200
    assert asked == [ResultRef(ref=REF)]
    assert (await shard.types(message["execution_id"]))[0].startswith("playbook")


async def test_a_store_that_is_away_is_asked_again(shard: Shard) -> None:
    message = shard.start_message()

    async with result_store(shard, Refusal(503, "away"), message) as asked:
        answer = await send(shard, message["execution_id"])

    assert answer["status"] == 200
    assert len(asked) == 2


@pytest.mark.parametrize(("status", "says"), [(404, REF), (400, "no such form")])
async def test_one_that_stands_for_nothing_is_a_dead_letter(
    shard: Shard, status: int, says: str
) -> None:
    execution_id = shard.ids.next()

    async with result_store(shard, Refusal(status, "no such form")):
        gone = await send(shard, execution_id)
        nonsense = await send(shard, execution_id, ref=None)
        await eventually(shard.ingress_is_empty, what="both were answered for good")

    assert [gone["status"], nonsense["status"]] == [422, 422]
    assert says in gone["error"]
    assert len(await shard.dead_letters()) == 2


async def test_one_that_stands_for_another_executions_message_is_refused(shard: Shard) -> None:
    """S4: it would reach another log past its subject."""
    message = shard.start_message()
    other = shard.ids.next()

    async with result_store(shard, message):
        answer = await send(shard, other)

    assert answer["status"] == 422
    assert await shard.state(message["execution_id"]) is None
