"""W23: an execution is decided where it is in memory, and nothing is lost on the way there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import orjson
import pytest
from noetl_common.bus.inbox import Incoming
from noetl_contract.ingress import REPLY_HEADER
from noetl_contract.json import JsonObject
from noetl_contract.subjects import (
    direct_subject,
    ingress_subject,
    replica_moves_subject,
    replica_subject,
)
from noetl_orchestrator.ingress import handover
from noetl_orchestrator.ingress.direct import run_direct
from noetl_orchestrator.memory.replicas import Replicas
from noetl_testkit.bus import has_listener, running
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

from services.orchestrator.tests.shard import Replica, Shard, running_loops


async def test_w23_each_execution_is_decided_by_its_owner_alone(shard: Shard) -> None:
    first, second = await two_replicas(shard)

    ids = [await shard.start() for _ in range(20)]
    for execution_id in ids:
        command = await shard.command(execution_id)
        assert await shard.send(execution_id, shard.fast(command)) == {"status": "ok"}

    owners = {first.rooms.replicas.owner_of(one) for one in ids}
    assert owners == {None, second.rooms.replicas.name}
    for execution_id in ids:
        for replica in (first, second):
            is_owner = replica.rooms.replicas.owner_of(execution_id) is None
            assert (replica.rooms.cache.get(execution_id) is not None) == is_owner
    await eventually(shard.ingress_is_empty)


async def test_w23_a_claim_is_decided_by_the_owner(shard: Shard) -> None:
    replicas = await two_replicas(shard)
    execution_id = await shard.start()
    (other,) = [
        number
        for number, replica in enumerate(replicas)
        if replica.rooms.replicas.owner_of(execution_id) is not None
    ]
    command = await shard.command(execution_id)

    granted = await shard.claim(command, worker="w1", replica=other)
    refused = await shard.claim(command, worker="w2", replica=other)

    assert (granted["status"], refused["status"]) == (200, 409)
    assert granted["body"]["event_id"] == command.event_id
    assert replicas[other].rooms.cache.get(execution_id) is None


async def test_w23_what_an_owner_refuses_is_kept_once(shard: Shard) -> None:
    await two_replicas(shard)
    ids = [shard.ids.next() for _ in range(8)]

    answers = [await shard.send(one, b"not json %d" % one) for one in ids]

    assert {answer["status"] for answer in answers} == {422}
    # The owner has answered; the letter is written where the message came from the broker.
    await eventually(shard.ingress_is_empty)
    letters = await shard.dead_letters()
    assert sorted(body for _, body in letters) == sorted(b"not json %d" % one for one in ids)


async def test_w23_what_an_owner_refuses_of_writes_past_the_stream_is_kept_too(
    shard: Shard,
) -> None:
    first, _ = await two_replicas(shard)
    ids = [shard.ids.next() for _ in range(64)]  # of both owners

    async def refused(execution_id: int) -> JsonObject:
        subject = ingress_subject(0, execution_id=execution_id, kind="events")
        with shard.bus.inbox().expect() as waiter:
            headers = {REPLY_HEADER: waiter.subject}
            await shard.bus.send(direct_subject(subject), b"not json %d" % execution_id, headers)
            answer: JsonObject = orjson.loads(await waiter.wait(PATIENCE_SECONDS))
        return answer

    handler = first.rooms.on_batch
    async with running(run_direct(first.bus, handler, shard=0, window=100, queue="test")):
        await eventually(lambda: is_heard(shard), what="it listens")
        assert {(await refused(one))["status"] for one in ids} == {422}

        async def are_kept() -> bool:
            letters = {body for _, body in await shard.dead_letters()}
            return {b"not json %d" % one for one in ids} <= letters

        await eventually(are_kept, what="each has its letter")
    assert {first.rooms.replicas.owner_of(one) is None for one in ids} == {True, False}


async def test_w23_a_replica_that_owns_nothing_takes_no_writes_past_the_stream(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = await open_replica(shard)
    is_active = True
    monkeypatch.setattr(Replicas, "is_active", property(lambda _replicas: is_active))

    async def is_deaf() -> bool:
        return not await is_heard(shard)

    handler = replica.rooms.on_batch
    async with running(run_direct(replica.bus, handler, shard=0, window=100, queue="test")):
        await eventually(lambda: is_heard(shard), what="it listens")
        is_active = False
        await eventually(is_deaf, what="it listens no more")
        is_active = True
        await eventually(lambda: is_heard(shard), what="it listens again")


async def test_w23_an_owner_that_nobody_hears_owns_nothing(shard: Shard) -> None:
    """It was killed: the broker tells so with the first message that is given to it."""
    replica = await open_replica(shard)
    await appears(shard, replica, "ghost")

    ids = [await shard.start() for _ in range(20)]

    assert not owned_by(replica, "ghost")
    assert all(replica.rooms.cache.get(one) is not None for one in ids)
    await eventually(shard.ingress_is_empty)


async def test_w23_a_claim_for_an_owner_that_nobody_hears_is_decided_here(shard: Shard) -> None:
    replica = await open_replica(shard)
    command = await shard.command(await shard.start())
    for name in ("ghost", "other", "third", "fourth", "fifth"):
        await appears(shard, replica, name)

    assert (await shard.claim(command))["status"] == 200


async def test_w23_what_an_owner_does_not_answer_is_given_again_and_then_decided_here(
    shard: Shard,
) -> None:
    replica = await open_replica(shard)
    async with silent_sibling(shard, "ghost") as given:
        await eventually(lambda: owned_by(replica, "ghost"))
        messages = []
        while not any(replica.rooms.replicas.owner_of(m["execution_id"]) for m in messages):
            messages.append(shard.start_message())
        for message in messages:
            await shard.publish(message["execution_id"], message)
        ids = {message["execution_id"] for message in messages}
        (theirs,) = [one for one in ids if replica.rooms.replicas.owner_of(one) == "ghost"]

        await eventually(lambda: len(given) > 1, what="it is given again")
        assert [(one["number"], one["again"]) for one in given[:2]] == [(1, False), (1, True)]
        assert f".{theirs}." in given[0]["subject"]
        assert replica.rooms.cache.get(theirs) is None

    # Its sibling is not shown any more: what it had is decided here.
    await eventually(shard.ingress_is_empty)
    types = await shard.types(theirs)
    assert types.count("playbook_started") == 1


async def test_w23_a_sibling_that_leaves_gets_nothing_more(shard: Shard) -> None:
    replica = await open_replica(shard)
    given: list[bytes] = []
    await shard.bus.subscribe(replica_subject("ghost"), lambda frame: given.append(frame.data))
    await appears(shard, replica, "ghost")
    await tell(shard, "ghost", leaves=True)
    await eventually(lambda: not owned_by(replica, "ghost"))

    for _ in range(10):
        await shard.start()

    assert not any(b'"number"' in frame for frame in given)


async def test_w23_a_sibling_of_the_release_before_is_given_nothing(shard: Shard) -> None:
    replica = await open_replica(shard)
    told: list[bytes] = []
    await shard.bus.subscribe(replica_moves_subject(0), lambda message: told.append(message.data))

    async def show() -> None:
        while True:
            await shard.bus.send(replica_moves_subject(0), b'{"from":"old","moved":[]}')
            await asyncio.sleep(0.3)

    async with running(show()):
        await eventually(lambda: replica.rooms.replicas.are_there)
        execution_id = await shard.start()

    assert replica.rooms.replicas.owner_of(execution_id) is None
    # It may have any execution in memory, so it hears of all.
    await eventually(lambda: any(str(execution_id).encode() in body for body in told))


async def test_w23_a_replica_that_ends_hears_what_became_of_messages_it_gave(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unheard, what an owner has committed would be delivered again."""
    monkeypatch.setattr(handover, "_AGAIN_SECONDS", PATIENCE_SECONDS)
    replica = await shard.open_replica(loops=False, replicas_active_min=9)
    name = replica.rooms.replicas.name
    left = asyncio.Event()

    def note(incoming: Incoming) -> None:
        told = orjson.loads(incoming.data)
        if told["from"] == name and told.get("leaves"):
            left.set()

    await shard.bus.subscribe(replica_moves_subject(0), note)
    async with silent_sibling(shard, "ghost") as given, AsyncExitStack() as life:
        await life.enter_async_context(
            running_loops(replica, with_siblings=True, drain_seconds=PATIENCE_SECONDS)
        )
        await eventually(lambda: owned_by(replica, "ghost"))
        theirs: list[int] = []
        while len(theirs) < 2:
            message = shard.start_message()
            if replica.rooms.replicas.owner_of(message["execution_id"]) == "ghost":
                theirs.append(message["execution_id"])
                await shard.publish(message["execution_id"], message)
        await eventually(lambda: len(given) == len(theirs))
        ending = asyncio.create_task(life.aclose())
        await asyncio.wait_for(left.wait(), PATIENCE_SECONDS)
        committed = {"answers": [(given[0]["number"], "ack", None)]}
        await shard.bus.send(replica_subject(name), orjson.dumps(committed))
        given_away = replica.rooms.on_batch.handover._given
        await eventually(lambda: len(given_away) == 1, what="it hears what was committed")
        monkeypatch.setattr(handover, "_AGAIN_SECONDS", 0.0)
        await ending

    async def one_is_left() -> bool:
        return bool((await shard.bus.js.stream_info("noetl_ingress")).state.messages == 1)

    # The other one went back to the broker, for whoever comes.
    await eventually(one_is_left)
    await open_replica(shard)
    await eventually(shard.ingress_is_empty)
    assert not await shard.types(theirs[0])
    assert "playbook_started" in await shard.types(theirs[1])


async def test_w23_frames_of_nonsense_are_refused(shard: Shard) -> None:
    replica = await open_replica(shard)
    subject = replica_subject(replica.rooms.replicas.name)
    await eventually(lambda: is_subscribed(shard, subject), what="it listens")
    answers: list[JsonObject] = []
    await shard.bus.subscribe(
        replica_subject("ghost"), lambda frame: answers.append(orjson.loads(frame.data))
    )
    message = shard.start_message()
    execution_id, body = message["execution_id"], orjson.dumps(message)
    entry = {
        "number": 1,
        "subject": ingress_subject(0, execution_id=execution_id, kind="execute"),
        "headers": {},
        "size": len(body),
    }

    async def hand(reply: str, *, again: bool) -> None:
        frame = {"from": "ghost", "messages": [{**entry, "reply": reply, "again": again}]}
        await shard.bus.send(subject, orjson.dumps(frame) + b"\n" + body)

    for head in (b"nonsense", b"[]", b"{}", b'{"answers":[[1]]}'):
        await shard.bus.send(subject, head + b"\n")
    await hand("nonsense", again=False)
    await hand("nonsense", again=True)
    # With the same number: what was refused does not count as under way.
    await hand("", again=False)

    await eventually(lambda: answers == [{"answers": [[1, "ack", None]]}])
    assert "playbook_started" in await shard.types(execution_id)


async def test_w23_frames_stay_below_what_the_broker_takes(shard: Shard) -> None:
    """Many messages near a quarter of the limit come to their owner in several frames."""
    first, _second = await two_replicas(shard)
    big = "x" * (first.bus.largest_message // 5)
    messages = [shard.start_message(payload={"text": big}) for _ in range(12)]

    answers = await asyncio.gather(
        *(shard.send(message["execution_id"], message) for message in messages)
    )

    assert {answer["status"] for answer in answers} == {200}
    await eventually(shard.ingress_is_empty)


async def open_replica(shard: Shard) -> Replica:
    """Open a replica that shares the executions with its siblings from the start."""
    return await shard.open_replica(with_siblings=True, replicas_active_min=9)


async def two_replicas(shard: Shard) -> tuple[Replica, Replica]:
    """Open two replicas that know of each other."""
    first, second = await open_replica(shard), await open_replica(shard)
    await eventually(
        lambda: (
            owned_by(first, second.rooms.replicas.name)
            and owned_by(second, first.rooms.replicas.name)
        )
    )
    return first, second


def owned_by(replica: Replica, name: str) -> bool:
    """Tell whether a replica gives executions to this one."""
    return any(replica.rooms.replicas.owner_of(one) == name for one in range(200))


async def appears(shard: Shard, replica: Replica, name: str) -> None:
    """Show a sibling once, of which nothing is there."""

    async def is_known() -> bool:
        await tell(shard, name)
        return owned_by(replica, name)

    await eventually(is_known, every_seconds=0.02)


async def is_subscribed(shard: Shard, subject: str) -> bool:
    """Tell whether anybody listens on a subject that answers nothing to an empty frame."""
    return await has_listener(shard.bus, subject, b'{"from":"nobody","messages":[]}\n')


async def is_heard(shard: Shard) -> bool:
    """Tell whether anybody takes writes past the stream."""
    subject = direct_subject(ingress_subject(0, execution_id=1, kind="events"))
    return await has_listener(shard.bus, subject, b"nonsense")


async def tell(shard: Shard, name: str, *, leaves: bool = False) -> None:
    body = {"from": name, "moved": [], "takes": True, "leaves": leaves}
    await shard.bus.send(replica_moves_subject(0), orjson.dumps(body))


@asynccontextmanager
async def silent_sibling(shard: Shard, name: str) -> AsyncIterator[list[JsonObject]]:
    """A replica that hears everything and answers nothing; gives the messages it has heard."""
    given: list[JsonObject] = []

    def take(incoming: Incoming) -> None:
        given.extend(orjson.loads(incoming.data.partition(b"\n")[0])["messages"])

    async def show() -> None:
        while True:
            await tell(shard, name)
            await asyncio.sleep(0.3)

    subscription = await shard.bus.subscribe(replica_subject(name), take)
    async with running(show()):
        yield given
    await subscription.unsubscribe()
