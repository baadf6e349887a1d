"""W21: writes that are requested of the owners of their buckets."""

import orjson
import pytest
from noetl_bus.inbox import Incoming
from noetl_contract.ingress import (
    FORWARDED_HEADER,
    REPLY_HEADER,
    ClaimMessage,
    ExecuteMessage,
    encode_message,
)
from noetl_contract.json import JsonObject
from noetl_contract.subjects import IngressKind, write_subject
from noetl_orchestrator import metrics
from noetl_orchestrator.ingress.door import GIVEN_BACK, TAKEN, Door
from noetl_orchestrator.turn.inputs import TurnInput
from noetl_testkit.bus import flush, has_listener, running
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

from services.orchestrator.tests.shard import Replica, Shard


def door_of(replica: Replica, *, window: int = 100) -> Door:
    """Return its door, as if it had looked for siblings and found none."""
    rooms = replica.rooms
    rooms.replicas._shows = 2
    return Door(replica.bus, rooms.intake, shard=0, window=window)


async def is_open(shard: Shard, execution_id: int) -> bool:
    """Return whether a replica takes requests of an execution: it opens its buckets in turn."""
    subject = write_subject(0, execution_id=execution_id, kind="events")
    return await has_listener(shard.bus, subject, b"nonsense")


async def ask(shard: Shard, message: JsonObject, *, kind: IngressKind = "execute") -> JsonObject:
    """Request a write until it is answered, as the edge does."""
    subject = write_subject(0, execution_id=message["execution_id"], kind=kind)
    with shard.bus.inbox().expect() as waiter:

        async def is_answered() -> bool:
            headers = {REPLY_HEADER: waiter.subject}
            await shard.bus.send(subject, orjson.dumps(message), headers)
            return waiter.answer.done()

        await eventually(is_answered, what="it is answered", every_seconds=0.05)
        answer: JsonObject = orjson.loads(await waiter.wait(PATIENCE_SECONDS))
    return answer


async def test_w21_a_requested_write_is_committed_once(shard: Shard) -> None:
    replica = await shard.open_replica()
    message = shard.start_message()
    execution_id = message["execution_id"]

    async with running(door_of(replica).run()):
        past = await ask(shard, message)
        # The copy that the stream took all the same, and came out with later.
        again = await shard.send(execution_id, message)

    assert past["status"] == again["status"] == 200
    assert past["body"] == again["body"]
    assert (await shard.types(execution_id)).count("playbook_started") == 1
    await eventually(shard.ingress_is_empty)


async def test_w21_what_is_no_write_is_answered_and_kept_with_its_reason(shard: Shard) -> None:
    replica = await shard.open_replica()

    async with running(door_of(replica, window=1).run()):
        answer = await ask(shard, {"type": "nonsense", "execution_id": shard.ids.next()})
        await eventually(shard.dead_letters, what="the letter comes behind the answer")

    assert answer["status"] == 422
    # It is sent until it is answered, so that more than one copy may have been heard.
    for headers, body in await shard.dead_letters():
        assert b"nonsense" in body
        assert "can't be read" in headers["Noetl-Dead-Reason"]


async def test_w21_a_claim_is_told_that_the_window_is_full(shard: Shard) -> None:
    """It can't be left to the stream."""
    replica = await shard.open_replica()
    door, intake = door_of(replica, window=1), replica.rooms.intake
    intake.under_way.begin("claims")

    answer = await claimed_at(shard, door, b"{}")
    intake.under_way.end("claims")

    assert (answer["status"], answer["body"]) == (503, None)


async def test_w21_what_waits_in_the_stream_keeps_nobody_from_claims(shard: Shard) -> None:
    replica = await shard.open_replica()
    command = await shard.command(await shard.start())
    door, intake = door_of(replica, window=1), replica.rooms.intake
    for _ in range(100):
        intake.under_way.begin("ordinary")
    claim = ClaimMessage(
        execution_id=command.execution_id, event_id=command.event_id, worker_id="w1"
    )

    answer = await claimed_at(shard, door, encode_message(claim))
    for _ in range(100):
        intake.under_way.end("ordinary")

    assert (answer["status"], answer["body"]["event_id"]) == (200, command.event_id)
    assert intake.under_way.idle.is_set()


@pytest.mark.parametrize(
    ("claim", "status"),
    [
        (b"nonsense", 422),
        (b'{"event_id":"x","worker_id":"w"}', 422),
        (b'{"execution_id":"7","event_id":"9","worker_id":"w"}', 409),
    ],
    ids=["no JSON", "no id", "ids as texts"],
)
async def test_a_claim_that_can_t_be_read_is_answered_and_kept_by_nobody(
    shard: Shard, claim: bytes, status: int
) -> None:
    replica = await shard.open_replica()

    answer = await claimed_at(shard, door_of(replica, window=1), claim)

    assert answer["status"] == status
    assert replica.rooms.intake.under_way.idle.is_set()
    assert await shard.dead_letters() == []


async def claimed_at(shard: Shard, door: Door, claim: bytes) -> JsonObject:
    """Give a door a claim and return its answer."""
    subject = write_subject(0, execution_id=7, kind="claim")
    with shard.bus.inbox().expect() as waiter:
        door._take(Incoming(subject, claim, {REPLY_HEADER: waiter.subject}))
        await door._hand_in()
        answer: JsonObject = orjson.loads(await waiter.wait(PATIENCE_SECONDS))
    return answer


async def test_w21_more_than_the_window_is_left_to_the_stream(shard: Shard) -> None:
    replica = await shard.open_replica()
    message = shard.start_message()
    subject = write_subject(0, execution_id=message["execution_id"], kind="execute")

    async with running(door_of(replica, window=0).run()):
        await eventually(lambda: is_open(shard, message["execution_id"]), what="it listens")
        with shard.bus.inbox().expect() as waiter:
            headers = {REPLY_HEADER: waiter.subject}
            await shard.bus.send(subject, orjson.dumps(message), headers)
            await flush(shard.bus)
            await flush(replica.bus)
            assert not waiter.answer.done()
        assert replica.rooms.intake.under_way.idle.is_set()
    assert await shard.types(message["execution_id"]) == []


FORWARDED = {FORWARDED_HEADER: "3.17.1700000000000000000"}


@pytest.mark.parametrize(
    ("headers", "room"), [({}, 1), (FORWARDED, 4)], ids=["requested", "forwarded"]
)
async def test_w27_people_are_heard_when_the_window_is_full(
    shard: Shard, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], room: int
) -> None:
    replica = await shard.open_replica()
    execution_id = await shard.start()
    dispatcher = replica.rooms.dispatcher
    submit, held = dispatcher.submit, list[TurnInput]()

    def hold_starts(turn_input: TurnInput) -> None:
        is_start = isinstance(turn_input.message, ExecuteMessage)
        (held.append if is_start else submit)(turn_input)

    monkeypatch.setattr(dispatcher, "submit", hold_starts)
    dropped = metrics.DROPPED._value.get()

    async def is_full() -> bool:
        message = shard.start_message()
        subject = write_subject(0, execution_id=message["execution_id"], kind="execute")
        await shard.bus.send(subject, orjson.dumps(message), headers)
        return len(held) == room and metrics.DROPPED._value.get() > dropped

    async with running(door_of(replica, window=1).run()):
        await eventually(is_full, what="the window is full")
        cancel = {"type": "cancel", "execution_id": execution_id}
        answer = await ask(shard, cancel, kind="cancel")
        for turn_input in held:
            submit(turn_input)

    assert answer["body"]["status"] == "cancelled"
    assert len(held) == room


async def test_w23_two_that_own_the_same_buckets_commit_each_write_once(shard: Shard) -> None:
    """As while a replica has not heard yet that its sibling is gone, or is back."""
    first, second = await shard.open_replica(), await shard.open_replica()

    async with running(door_of(first).run()), running(door_of(second).run()):
        await eventually(lambda: is_open(shard, 1), what="they listen")
        ids = []
        for _ in range(12):
            message = shard.start_message()
            ids.append(message["execution_id"])
            assert (await ask(shard, message))["status"] == 200
            for _ in range(2):
                command = await shard.command(ids[-1])
                assert await ask(shard, shard.fast(command), kind="outcome") == {"status": "ok"}

    for execution_id in ids:
        types = await shard.types(execution_id)
        assert types.count("playbook_started") == types.count("playbook.completed") == 1
        assert types.count("command.completed") == 2


async def test_w23_what_is_forwarded_is_confirmed_at_once_and_may_be_given_back(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = await shard.open_replica()
    message = shard.start_message()
    subject = write_subject(0, execution_id=message["execution_id"], kind="execute")
    inputs: list[TurnInput] = []
    monkeypatch.setattr(replica.rooms.dispatcher, "submit", inputs.append)
    said: list[bytes] = []
    reply = shard.bus.inbox().fresh_subject()
    shard.bus.inbox().register(reply, lambda incoming: said.append(incoming.data))

    async with running(door_of(replica).run()):
        await eventually(lambda: is_open(shard, message["execution_id"]), what="it listens")
        headers = {REPLY_HEADER: reply, **FORWARDED}
        await shard.bus.send(subject, orjson.dumps(message), headers)
        await eventually(lambda: inputs, what="it is to be decided")
        assert inputs[0].watch, "it was delivered often, so it is decided alone"
        await inputs[0].caller.given_back(2.5)
        await eventually(lambda: len(said) > 1, what="it is given back")

    assert said == [TAKEN, GIVEN_BACK + b"2.500}"]
