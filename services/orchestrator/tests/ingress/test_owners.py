"""W23: an execution is decided where it is in memory, and nothing is lost on the way there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import orjson
import pytest
from noetl_bus.inbox import Incoming
from noetl_bus.writes.exchange import Exchange, WriteTimeout
from noetl_bus.writes.sender import Sender
from noetl_bus.writes.write import Write
from noetl_contract.ingress import REPLY_HEADER, ClaimMessage, encode_message, place_of
from noetl_contract.json import Json, JsonObject
from noetl_contract.sharding import BUCKETS
from noetl_contract.subjects import replica_moves_subject, replica_subject
from noetl_orchestrator.ingress.door import GIVEN_BACK, TAKEN
from noetl_testkit.bus import has_listener, running, writes_of_shard
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from prometheus_client import REGISTRY

from services.orchestrator.tests.messages import Command
from services.orchestrator.tests.shard import Replica, Shard


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


@pytest.mark.parametrize("with_execution", [True, False])
async def test_w23_a_claim_is_decided_by_the_owner(shard: Shard, *, with_execution: bool) -> None:
    """Without its execution it comes to the owner of its own bucket, who finds the other."""
    replicas = await two_replicas(shard)
    for _ in range(6):
        command = await shard.command(await shard.start())

        granted = await requested_claim(shard, command, with_execution=with_execution)
        refused = await requested_claim(shard, command, "w2", with_execution=with_execution)

        assert (granted["status"], refused["status"]) == (200, 409)
        assert granted["body"]["event_id"] == command.event_id
        for replica in replicas:
            is_owner = replica.rooms.replicas.owner_of(command.execution_id) is None
            assert (replica.rooms.cache.get(command.execution_id) is not None) == is_owner


async def test_w23_what_an_owner_refuses_is_kept_once(shard: Shard) -> None:
    await two_replicas(shard)
    ids = [shard.ids.next() for _ in range(8)]

    answers = [await shard.send(one, b"not json %d" % one) for one in ids]

    assert {answer["status"] for answer in answers} == {422}
    # The owner has answered; the letter is written where the message came from the broker.
    await eventually(shard.ingress_is_empty)
    letters = await shard.dead_letters()
    assert sorted(body for _, body in letters) == sorted(b"not json %d" % one for one in ids)


async def test_w23_a_replica_listens_to_its_own_buckets_alone(shard: Shard) -> None:
    first, second = await two_replicas(shard)

    async def are_heard() -> bool:
        return all([await is_heard(shard, bucket) for bucket in range(BUCKETS)])

    await eventually(are_heard, what="every bucket has a listener")
    owned = [one.rooms.replicas.owned_buckets for one in (first, second)]
    assert owned[0] | owned[1] == frozenset(range(BUCKETS))
    assert not owned[0] & owned[1]


async def test_w23_a_replica_opens_no_door_before_it_knows_of_its_siblings(shard: Shard) -> None:
    replica = await shard.open_replica(loops=False, replicas_active_min=9)
    replicas = replica.rooms.replicas
    subscriptions = await replicas.listen()
    before = replicas.owned_buckets
    await replicas.show()
    await replicas.show()

    assert before == frozenset()
    assert len(replicas.owned_buckets) == BUCKETS
    for subscription in subscriptions:
        await subscription.unsubscribe()


async def test_w23_an_owner_that_nobody_hears_owns_nothing(shard: Shard) -> None:
    """It was killed: the broker answers so to the first message for it."""
    replica = await open_replica(shard)
    await appears(shard, replica, "ghost")

    ids = [await shard.start() for _ in range(20)]

    await eventually(lambda: not owned_by(replica, "ghost"), what="the broker answered its end")
    assert all(replica.rooms.cache.get(one) is not None for one in ids)
    await eventually(shard.ingress_is_empty)


async def test_w23_a_claim_for_an_owner_that_nobody_hears_is_decided_by_another(
    shard: Shard,
) -> None:
    replica = await open_replica(shard)
    command = await shard.command(await shard.start())
    for name in ("ghost", "other", "third", "fourth", "fifth"):
        await appears(shard, replica, name)

    assert (await requested_claim(shard, command))["status"] == 200


async def test_w23_what_an_owner_does_not_answer_is_decided_here_as_a_repetition(
    shard: Shard,
) -> None:
    replica = await open_replica(shard)
    async with silent_sibling(shard, "ghost") as asked:
        await eventually(lambda: owned_by(replica, "ghost"))
        await eventually(partial(is_at_its_door, replica), what="it has left the ghost's buckets")
        before = forwarded("here")
        message = await of_owner(shard, replica, "ghost")
        answer = await shard.send(message["execution_id"], message)
        assert answer["status"] == 200
        assert forwarded("here") == before + 1

    (sent,) = [one for one in asked if str(message["execution_id"]) in one.subject]
    assert sent.headers["Noetl-Forwarded"].startswith("1.")
    await eventually(shard.ingress_is_empty)
    types = await shard.types(message["execution_id"])
    assert types.count("playbook_started") == 1


async def test_w23_an_owner_that_has_taken_a_message_may_take_its_time(shard: Shard) -> None:
    replica = await open_replica(shard)
    async with silent_sibling(shard, "ghost", says=TAKEN) as asked:
        await eventually(lambda: owned_by(replica, "ghost"))
        await eventually(partial(is_at_its_door, replica), what="it has left the ghost's buckets")
        message = await of_owner(shard, replica, "ghost")
        sending = asyncio.create_task(shard.send(message["execution_id"], message))
        await eventually(lambda: asked, what="it was asked")
        reply = orjson.dumps({"status": 200, "body": "late"})
        await shard.bus.reply(asked[0].headers[REPLY_HEADER], reply)

        assert (await sending)["body"] == "late"
        await eventually(shard.ingress_is_empty)
    assert await shard.types(message["execution_id"]) == []


async def test_w23_what_an_owner_gives_back_is_delivered_again(shard: Shard) -> None:
    replica = await open_replica(shard)
    async with silent_sibling(shard, "ghost", says=GIVEN_BACK + b"0.000}") as asked:
        await eventually(lambda: owned_by(replica, "ghost"))
        await eventually(partial(is_at_its_door, replica), what="it has left the ghost's buckets")
        message = await of_owner(shard, replica, "ghost")
        await shard.publish(message["execution_id"], message)
        await eventually(lambda: len(asked) > 1, what="it is asked again")

    deliveries = [one.headers["Noetl-Forwarded"].partition(".")[0] for one in asked]
    assert deliveries[:2] == ["1", "2"]


async def test_w23_what_a_sibling_has_taken_and_left_is_decided_here(shard: Shard) -> None:
    replica = await open_replica(shard)
    async with silent_sibling(shard, "ghost", says=TAKEN) as asked:
        await eventually(lambda: owned_by(replica, "ghost"))
        await eventually(partial(is_at_its_door, replica), what="it has left the ghost's buckets")
        message = await of_owner(shard, replica, "ghost")
        await shard.publish(message["execution_id"], message)
        await eventually(lambda: asked, what="it was asked")

    await eventually(shard.ingress_is_empty)
    types = await shard.types(message["execution_id"])
    assert types.count("playbook_started") == 1


async def test_w23_a_sibling_that_leaves_is_asked_nothing_more(shard: Shard) -> None:
    replica = await open_replica(shard)
    asked: list[Incoming] = []
    await appears(shard, replica, "ghost")
    await tell(shard, "ghost", leaves=True)
    await eventually(lambda: not owned_by(replica, "ghost"))
    await shard.bus.subscribe(writes_of_shard(0), asked.append)

    for _ in range(10):
        await shard.start()

    assert asked == []


async def test_w23_what_is_very_large_is_decided_by_who_has_read_it(shard: Shard) -> None:
    first, _second = await two_replicas(shard)
    big = "x" * (first.bus.largest_message // 3)
    before = forwarded("answered"), forwarded("here")
    messages = [shard.start_message(payload={"text": big}) for _ in range(12)]

    answers = await asyncio.gather(
        *(shard.send(message["execution_id"], message) for message in messages)
    )

    assert {answer["status"] for answer in answers} == {200}
    assert (forwarded("answered"), forwarded("here")) == before
    await eventually(shard.ingress_is_empty)


async def requested_claim(
    shard: Shard, command: Command, worker: str = "w1", *, with_execution: bool = True
) -> JsonObject:
    """Claim a command as workers and edges do."""
    claim = ClaimMessage(
        execution_id=command.execution_id if with_execution else None,
        event_id=command.event_id,
        worker_id=worker,
    )
    place = place_of(claim)
    body, seconds = encode_message(claim), PATIENCE_SECONDS
    with Write(shard.bus.inbox(), shard=0, execution_id=place, kind="claim", body=body) as write:
        deadline = asyncio.get_running_loop().time() + seconds
        sending = Exchange(
            Sender(shard.bus), write, WriteTimeout(seconds), deadline=deadline, check_seconds=1
        )
        answer: JsonObject = orjson.loads(await sending.answer())
    return answer


async def open_replica(shard: Shard, **settings: Json) -> Replica:
    """Open a replica that shares the executions with its siblings from the start."""
    return await shard.open_replica(with_siblings=True, replicas_active_min=9, **settings)


async def two_replicas(shard: Shard, **settings: Json) -> tuple[Replica, Replica]:
    """Open two replicas that know of each other."""
    first, second = await open_replica(shard, **settings), await open_replica(shard, **settings)
    await eventually(
        lambda: (
            owned_by(first, second.rooms.replicas.name)
            and owned_by(second, first.rooms.replicas.name)
        )
    )
    for replica in (first, second):
        await eventually(partial(is_at_its_door, replica), what="it listens to its buckets alone")
    return first, second


def is_at_its_door(replica: Replica) -> bool:
    """Return whether a replica listens to the buckets that it owns, and to no others."""
    owned = replica.rooms.replicas.owned_buckets
    return bool(owned) and replica.rooms.door._open.keys() == owned


def owned_by(replica: Replica, name: str) -> bool:
    """Return whether a replica takes this one for the owner of an execution."""
    return any(replica.rooms.replicas.owner_of(one) == name for one in range(200))


async def appears(shard: Shard, replica: Replica, name: str) -> None:
    """Show a sibling once, of which nothing is there."""

    async def is_known() -> bool:
        await tell(shard, name)
        return owned_by(replica, name)

    await eventually(is_known, every_seconds=0.02)


async def is_heard(shard: Shard, bucket: int) -> bool:
    """Return whether a replica takes the writes of a bucket."""
    return await has_listener(shard.bus, f"noetl_write.0.{bucket}.1.events", b"nonsense")


async def tell(shard: Shard, name: str, *, leaves: bool = False) -> None:
    body = {"from": name, "moved": [], "buckets": True, "leaves": leaves}
    await shard.bus.send(replica_moves_subject(0), orjson.dumps(body))


def forwarded(end: str) -> float:
    """Return how many messages were forwarded, by how that ended."""
    return REGISTRY.get_sample_value("noetl_orchestrator_forwarded_total", {"end": end}) or 0.0


async def of_owner(shard: Shard, replica: Replica, name: str) -> JsonObject:
    """Return a start whose execution a sibling owns."""
    while True:
        message = shard.start_message()
        if replica.rooms.replicas.owner_of(message["execution_id"]) == name:
            return message


@asynccontextmanager
async def silent_sibling(
    shard: Shard, name: str, *, says: bytes | None = None
) -> AsyncIterator[list[Incoming]]:
    """Run a replica that hears everything and answers nothing; yield the requests that it got."""
    asked: list[Incoming] = []

    def take(incoming: Incoming) -> None:
        asked.append(incoming)
        if says is not None:
            shard.bus.send_nowait(incoming.headers[REPLY_HEADER], says)

    async def show() -> None:
        while True:
            await tell(shard, name)
            await asyncio.sleep(0.3)

    subscriptions = [
        await shard.bus.subscribe(replica_subject(name), lambda _knock: None),
        await shard.bus.subscribe(writes_of_shard(0), take),
    ]
    async with running(show()):
        yield asked
    for subscription in subscriptions:
        await subscription.unsubscribe()
