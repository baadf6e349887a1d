"""Writes: their wait for an answer, their repetition, and the meaning of refusals (W4-W7)."""

import asyncio
from typing import Any, cast

import pytest
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.settings import Settings
from noetl_api_gateway.upstream.ingress_stream import Backlog
from noetl_api_gateway.upstream.large_writes import LargeWrites
from noetl_api_gateway.upstream.writes import IngressWriter
from noetl_bus.broker import connect
from noetl_bus.consumers.delivery import Delivery
from noetl_bus.inbox import Incoming
from noetl_bus.writes import breaker, exchange
from noetl_bus.writes.sender import Sender
from noetl_common.clock import unix_ms
from noetl_contract.hints import PubAck
from noetl_contract.ingress import (
    AGAIN_HEADER,
    DEADLINE_HEADER,
    REPLY_HEADER,
    CommandStartMessage,
    Hold,
    decode_message,
)
from noetl_contract.rpc import RpcReply, encode_reply
from noetl_contract.streams import INGRESS, ingress_durable
from noetl_contract.subjects import ingress_of_write
from noetl_testkit.bus import flush, nats_settings, running, writes_of_shard
from noetl_testkit.nats import NatsServer
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from pydantic import SecretStr

from ..conftest import EXECUTION_ID, IMPATIENT, World, make_world

EVENT = {
    "execution_id": EXECUTION_ID,
    "event_type": "command.completed",
    "step": "start",
    "event_id": 5,
}
OK = {"status": "ok", "event_id": 5, "commands_generated": 0}


async def _hold(_message: Any, _delivery: Delivery) -> None:
    """Neither answer nor acknowledge, like an orchestrator that hangs."""
    await asyncio.Event().wait()


async def _drop(_message: Any, _delivery: Delivery) -> None:
    """Acknowledge a write without an answer, like a commit whose reply was lost."""


@pytest.fixture
def patient_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers to requests count however late they come, also "no responders"."""
    monkeypatch.setattr(exchange, "ANSWER_SECONDS", PATIENCE_SECONDS)


@pytest.fixture
def open_breaker(monkeypatch: pytest.MonkeyPatch) -> None:
    """No request follows an unanswered one."""
    for name in ("_FIRST_OPEN_SECONDS", "_LONGEST_OPEN_SECONDS"):
        monkeypatch.setattr(breaker, name, PATIENCE_SECONDS)


def test_each_waits_for_longer_than_whom_it_waits_for() -> None:
    """W4: a replica, then the edge, then the real worker, which gives up after 30 s."""
    settings = Settings(nats_url=SecretStr("nats://unused"))
    start_seconds = (
        settings.resolve_patience_seconds
        + settings.start_patience_seconds
        + settings.clock_allowance_seconds
        + settings.exists_patience_seconds
    )

    assert ingress_durable(0).ack_wait.total_seconds() * 2 < settings.event_patience_seconds < 30
    assert start_seconds < 30
    assert settings.claim_hold_seconds < settings.claim_patience_seconds < 30


async def test_event_is_held_until_its_commit(world: World) -> None:
    committed = asyncio.Event()

    async def commit(_message: Any, _delivery: Delivery) -> RpcReply:
        await committed.wait()
        return RpcReply.with_body(OK)

    world.backend.on_ingress = commit
    posting = asyncio.create_task(world.post("/api/events", EVENT))
    await eventually(lambda: world.backend.ingress, what="the event is with the orchestrator")

    assert not posting.done()
    committed.set()
    assert (await posting).json() == OK


async def test_event_whose_reply_was_lost_is_sent_again_as_another_attempt(world: World) -> None:
    async def commit(message: Any, delivery: Delivery) -> RpcReply | None:
        if len(world.backend.ingress) < 2:
            return await _drop(message, delivery)
        return RpcReply.with_body(OK)

    world.backend.on_ingress = commit

    answer = await world.post("/api/events", EVENT)

    first, second = world.backend.attempts
    assert answer.json() == OK
    assert first != second
    assert world.backend.ingress[0] == world.backend.ingress[1]


async def test_event_whose_reply_comes_while_the_stream_is_searched_is_not_sent_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = world.backend.bus
    held: list[Delivery] = []

    async def hold(_message: Any, delivery: Delivery) -> None:
        held.append(delivery)

    holds = Sender.holds

    async def search_and_hear(sender: Sender, ack: PubAck, *, message_id: str) -> bool:
        is_there = await holds(sender, ack, message_id=message_id)
        if not is_there:
            reply = encode_reply(RpcReply.with_body(OK))
            await bus.reply(held[0].headers[REPLY_HEADER], reply)
            await flush(bus)
            await flush(sender.bus)
        return is_there

    monkeypatch.setattr(Sender, "holds", search_and_hear)
    world.backend.on_ingress = hold
    before = (await bus.js.stream_info(INGRESS.name)).state.last_seq

    answer = await world.post("/api/events", EVENT)

    assert answer.json() == OK
    assert (await bus.js.stream_info(INGRESS.name)).state.last_seq == before + 1


async def test_event_whose_reply_comes_in_the_pause_after_a_503_is_not_sent_again(
    world: World,
) -> None:
    """Another copy of it was taken before."""
    bus = world.backend.bus

    async def take(_message: Any, delivery: Delivery) -> None:
        for reply in (RpcReply(status=503, error="busy"), RpcReply.with_body(OK)):
            bus.send_nowait(delivery.headers[REPLY_HEADER], encode_reply(reply))

    world.backend.on_ingress = take
    before = (await bus.js.stream_info(INGRESS.name)).state.last_seq

    answer = await world.post("/api/events", EVENT)

    assert answer.json() == OK
    assert (await bus.js.stream_info(INGRESS.name)).state.last_seq == before + 1


async def test_event_that_waits_its_turn_is_not_sent_again(nats_url: str) -> None:
    async with make_world(nats_url, event_patience_seconds=1.5) as world:
        world.backend.on_ingress = _hold

        answer = await world.post("/api/events", EVENT)

        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        await eventually(lambda: world.backend.ingress, what="the event was taken")
        # It may be delivered again.
        assert len(set(world.backend.attempts)) == 1


async def test_event_survives_a_wiped_store(own_nats: NatsServer) -> None:
    async with make_world(own_nats.url) as world:
        world.backend.on_ingress = _hold
        posting = asyncio.create_task(world.post("/api/events", EVENT))
        await eventually(lambda: world.backend.ingress, what="the event was stored")
        world.backend.on_ingress = None
        await asyncio.to_thread(own_nats.wipe)

        answer = await posting

        assert answer.json() == OK


async def test_event_waits_out_a_restart_of_the_broker(own_nats: NatsServer) -> None:
    async with make_world(own_nats.url) as world:
        await asyncio.to_thread(own_nats.kill)
        posting = asyncio.create_task(world.post("/api/events", EVENT))
        await asyncio.to_thread(own_nats.start)

        answer = await posting

        assert answer.json() == OK


async def test_event_is_slowed_down_by_a_503_and_not_refused(world: World) -> None:
    async def busy_once(_message: Any, _delivery: Delivery) -> RpcReply:
        if len(world.backend.ingress) < 2:
            return RpcReply(status=503, error="busy")
        return RpcReply.with_body(OK)

    world.backend.on_ingress = busy_once

    assert (await world.post("/api/events", EVENT)).json() == OK


@pytest.mark.usefixtures("patient_requests")
async def test_event_is_held_while_the_stream_is_full(world: World) -> None:
    js = world.backend.bus.js
    name = INGRESS.name
    info = await js.stream_info(name)
    await js.update_stream(info.config.evolve(max_msgs=1))
    await js.publish("noetl_ingress.1.1", b"{}")
    posting = asyncio.create_task(world.post("/api/events", EVENT))
    starting = await world.post("/api/execute", {"path": "p"})

    assert (starting.status_code, starting.headers["retry-after"]) == (503, "1")
    assert not posting.done()
    await js.purge_stream(name)
    assert (await posting).json() == OK


async def test_deadline_travels_with_the_message(world: World) -> None:
    seen: list[str] = []

    async def note(_message: Any, delivery: Delivery) -> RpcReply:
        seen.append(delivery.headers[DEADLINE_HEADER])
        return RpcReply.with_body(
            {"execution_id": "1", "status": "started", "commands_generated": 1}
        )

    world.backend.on_ingress = note

    times = [unix_ms()]
    for _ in range(2):
        await world.post("/api/execute", {"path": "p"})
        times.append(unix_ms())

    patience_ms = int(PATIENCE_SECONDS * 1000)
    for deadline, began, ended in zip(map(int, seen), times[:-1], times[1:], strict=True):
        # Each is rounded to a millisecond, and so are the times here.
        assert began - 3 <= deadline - patience_ms <= ended + 3


async def test_start_without_a_reply_is_asked_for(start_unanswered: World) -> None:
    world = start_unanswered
    world.backend.on_ingress = _hold
    world.backend.answer(
        "executions.exists", {"exists": True, "status": "RUNNING", "commands_generated": 4}
    )

    answer = await world.post("/api/execute", {"path": "p"})

    await eventually(lambda: world.backend.ingress, what="the start was taken")
    (message,) = world.backend.ingress
    assert answer.json() == {
        "execution_id": str(message["execution_id"]),
        "status": "started",
        "commands_generated": 4,
    }


async def test_start_that_did_not_happen_is_503(start_unanswered: World) -> None:
    world = start_unanswered
    world.backend.on_ingress = _hold
    began = asyncio.get_running_loop().time()

    answer = await world.post("/api/execute", {"path": "p"})

    waited = asyncio.get_running_loop().time() - began
    assert answer.status_code == 503
    assert "was not started" in answer.json()["error"]
    # Deadline and clock allowance of the test's settings are over before anybody is asked.
    assert waited >= 1.3


async def test_start_that_nobody_can_tell_about_is_504(nats_url: str) -> None:
    async with make_world(nats_url, start_patience_seconds=1.0) as world:
        await _asked_in_vain(world)


async def _asked_in_vain(world: World) -> None:
    world.backend.on_ingress = _hold
    world.backend.answer("executions.exists", RpcReply(status=503, error="no database"))

    answer = await world.post("/api/execute", {"path": "p"})

    await eventually(lambda: world.backend.ingress, what="the start was taken")
    execution_id = world.backend.ingress[0]["execution_id"]
    assert answer.status_code == 504
    assert str(execution_id) in answer.json()["error"]


async def test_late_reply_to_a_start_counts(nats_url: str) -> None:
    # Late, and within what clocks may be apart.
    times = {"start_patience_seconds": 1.0, "clock_allowance_seconds": PATIENCE_SECONDS}
    async with make_world(nats_url, **times) as world:
        await _answered_late(world)


async def _answered_late(world: World) -> None:
    async def late(message: Any, delivery: Delivery) -> RpcReply:
        deadline_ms = int(delivery.headers[DEADLINE_HEADER])
        await eventually(lambda: unix_ms() > deadline_ms + 50, what="the deadline is over")
        body = {"execution_id": str(message["execution_id"]), "status": "started"}
        return RpcReply.with_body(body | {"commands_generated": 9})

    world.backend.on_ingress = late

    answer = await world.post("/api/execute", {"path": "p"})

    assert answer.json()["commands_generated"] == 9


async def test_start_of_which_one_copy_came_too_late_is_asked_for(start_unanswered: World) -> None:
    """The first copy was committed and its reply lost; the second one is refused as too late."""
    world = start_unanswered

    async def lose_then_refuse(message: Any, delivery: Delivery) -> RpcReply | None:
        if len(world.backend.ingress) < 2:
            return await _drop(message, delivery)
        return RpcReply(status=503, error="The start came too late; nothing was started")

    world.backend.on_ingress = lose_then_refuse
    world.backend.answer(
        "executions.exists", {"exists": True, "status": "RUNNING", "commands_generated": 4}
    )

    answer = await world.post("/api/execute", {"path": "p"})

    assert answer.status_code == 200
    assert answer.json()["commands_generated"] == 4


async def test_start_that_may_be_committed_is_not_refused_when_sent_again(
    start_unanswered: World,
) -> None:
    """It was taken from the stream and its reply lost, then the stream is full: ask the log."""
    world = start_unanswered
    js = world.backend.bus.js
    config = (await js.stream_info(INGRESS.name)).config
    await js.publish("noetl_ingress.1.1", b"{}")

    async def lose(message: Any, delivery: Delivery) -> RpcReply | None:
        await js.update_stream(config.evolve(max_msgs=1))
        return await _drop(message, delivery)

    world.backend.on_ingress = lose
    world.backend.answer(
        "executions.exists", {"exists": True, "status": "RUNNING", "commands_generated": 4}
    )

    answer = await world.post("/api/execute", {"path": "p"})

    await eventually(lambda: world.backend.ingress, what="the start was taken")
    assert len(set(world.backend.attempts)) == 1
    assert answer.status_code == 200
    assert answer.json()["commands_generated"] == 4


async def test_start_is_refused_at_once_without_a_broker(own_nats: NatsServer) -> None:
    # Whoever waits longer than his client does not answer at all.
    for_ever = {"start_patience_seconds": 600.0, "resolve_patience_seconds": 600.0}
    async with make_world(own_nats.url, **for_ever) as world:
        await asyncio.to_thread(own_nats.kill)

        async def is_noticed() -> bool:
            return bool((await world.get("/api/health")).json()["nats"] != "connected")

        await eventually(is_noticed, what="the edge knows that the broker is away")
        answer = await world.post("/api/execute", {"path": "p"})

        assert answer.status_code == 503
        await asyncio.to_thread(own_nats.start)


async def test_start_is_refused_while_the_backlog_is_long(nats_url: str) -> None:
    async with make_world(nats_url, max_ingress_backlog=2) as world:
        for _ in range(3):
            await world.backend.bus.js.publish("noetl_ingress.1.1", b"{}")

        async def is_refused() -> bool:
            answer = await world.post("/api/execute", {"path": "p"})
            return answer.status_code == 503 and "waiting" in answer.json()["error"]

        await eventually(is_refused, what="the start is refused")
        event = await world.post("/api/events", EVENT)

        assert event.json() == OK


async def test_writes_waiting_at_once_are_bounded(nats_url: str) -> None:
    committed = asyncio.Event()

    async def commit(_message: Any, _delivery: Delivery) -> RpcReply:
        await committed.wait()
        return RpcReply.with_body(OK)

    async with make_world(nats_url, max_waiting_writes=2) as world:
        world.backend.on_ingress = commit
        attempts = world.backend.attempts
        waiting = [asyncio.create_task(world.post("/api/events", EVENT)) for _ in range(3)]
        await eventually(lambda: len(set(attempts)) == 2, what="two are waiting")

        start = await world.post("/api/execute", {"path": "p"})
        before = len(set(attempts))
        committed.set()
        answers = [await posting for posting in waiting]

        assert start.status_code == 503
        assert before == 2
        assert [answer.json() for answer in answers] == [OK] * 3


async def test_event_that_gets_no_place_in_time_is_503(nats_url: str) -> None:
    async with make_world(nats_url, max_waiting_writes=1, event_patience_seconds=1.0) as world:
        world.backend.on_ingress = _hold

        posting = (world.post("/api/events", EVENT) for _ in range(2))
        answers = await asyncio.gather(*posting)

        assert [answer.status_code for answer in answers] == [503] * 2


async def test_claim_in_trouble_is_held_before_it_is_503(world: World) -> None:
    world.backend.answer("claim", RpcReply(status=503, error="undecided"))
    loop = asyncio.get_running_loop()
    began = loop.time()

    answer = await world.post("/api/commands/9/claim", {"worker_id": "w"})

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert loop.time() - began >= 0.4


async def test_claim_is_looked_up_among_shards(nats_url: str) -> None:
    async with make_world(nats_url, shard_count=2, **IMPATIENT) as world:
        world.backend.answer("command.get", RpcReply(status=404, error="no"))

        answer = await world.post("/api/commands/9/claim", {"worker_id": "w"})

        # The second shard has no projector here, and may have the command.
        assert answer.status_code == 503


async def test_register_is_asked_for_once(nats_url: str) -> None:
    async with make_world(nats_url, **IMPATIENT) as world:
        go_on = asyncio.Event()
        world.backend.answer("register", lambda _request: go_on.wait())

        answer = await world.post("/api/catalog/register", {"content": "x"})
        await eventually(lambda: world.backend.requests("register"), what="it was asked")
        go_on.set()

    assert answer.status_code == 503
    assert len(world.backend.requests("register")) == 1


@pytest.mark.usefixtures("patient_requests")
async def test_w21_a_write_goes_past_the_stream_first(world: World) -> None:
    bus = world.backend.bus
    sent: list[Incoming] = []

    def commit(message: Incoming) -> None:
        sent.append(message)
        bus.send_nowait(message.headers[REPLY_HEADER], encode_reply(RpcReply.with_body(OK)))

    await bus.subscribe(writes_of_shard(0), commit)
    await flush(bus)
    answer = await world.post("/api/events", EVENT)

    assert answer.json() == OK
    assert world.backend.ingress == []
    (message,) = sent
    assert decode_message(message.data).execution_id == EXECUTION_ID
    assert ingress_of_write(message.subject) == f"noetl_ingress.0.{EXECUTION_ID}.events"
    assert AGAIN_HEADER not in message.headers


@pytest.mark.usefixtures("open_breaker")
async def test_w21_a_write_that_nobody_answers_goes_into_the_stream_as_a_repetition(
    world: World,
) -> None:
    sent: list[Incoming] = []
    headers: list[dict[str, str]] = []

    async def commit(_message: Any, delivery: Delivery) -> RpcReply:
        headers.append(delivery.headers)
        return RpcReply.with_body(OK)

    world.backend.on_ingress = commit
    await world.backend.bus.subscribe(writes_of_shard(0), sent.append)
    await flush(world.backend.bus)
    answers = [await world.post("/api/events", EVENT) for _ in range(2)]

    assert [answer.json() for answer in answers] == [OK, OK]
    # The second one didn't try what had just failed.
    assert len(sent) == 1
    assert [AGAIN_HEADER in found for found in headers] == [True, False]


@pytest.mark.usefixtures("patient_requests")
async def test_w21_where_nobody_takes_requests_the_stream_has_them_at_once(
    world: World,
) -> None:
    headers: list[dict[str, str]] = []

    async def commit(_message: Any, delivery: Delivery) -> RpcReply:
        headers.append(delivery.headers)
        return RpcReply.with_body(OK)

    world.backend.on_ingress = commit
    answer = await world.post("/api/events", EVENT)

    assert answer.json() == OK
    # After a wait for an answer to the request it would be there.
    assert AGAIN_HEADER not in headers[0]


@pytest.mark.usefixtures("open_breaker")
@pytest.mark.parametrize("word", ["cancel", "pause", "resume", "finalize"])
async def test_w27_people_are_requested_also_while_the_breaker_is_open(
    world: World, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = world.backend.bus
    sent: list[Incoming] = []

    def commit(message: Incoming) -> None:
        sent.append(message)
        if message.subject.endswith(word):
            reply = encode_reply(RpcReply.with_body({"status": word}))
            bus.send_nowait(message.headers.get(REPLY_HEADER) or message.reply, reply)

    async def from_the_stream(_message: Any, _delivery: Delivery) -> RpcReply:
        return RpcReply.with_body(OK)

    world.backend.on_ingress = from_the_stream
    await bus.subscribe(writes_of_shard(0), commit)
    await flush(bus)
    for _ in range(2):  # the first request is not answered, so there is no second one
        assert (await world.post("/api/events", EVENT)).json() == OK
    monkeypatch.setattr(exchange, "ANSWER_SECONDS", PATIENCE_SECONDS)
    body = {"status": "COMPLETED"} if word == "finalize" else {}
    answer = await world.post(f"/api/executions/{EXECUTION_ID}/{word}", body)

    assert answer.json() == {"status": word}
    kinds = [one.subject.rpartition(".")[2] for one in sent]
    assert kinds == ["events", word]


async def test_w27_people_have_places_of_their_own(nats_url: str) -> None:
    """Otherwise events that wait for their commit would keep a cancel from being sent."""
    async with make_world(nats_url, max_waiting_writes=1) as world:
        bus = world.backend.bus
        world.backend.on_ingress = _hold

        def commit(message: Incoming) -> None:
            if message.subject.endswith("cancel"):
                reply = encode_reply(RpcReply.with_body(OK))
                bus.send_nowait(message.headers.get(REPLY_HEADER) or message.reply, reply)

        await bus.subscribe(writes_of_shard(0), commit)
        await flush(bus)
        held = asyncio.create_task(world.post("/api/events", EVENT))
        await eventually(lambda: world.backend.ingress, what="the event is with the orchestrator")
        answer = await world.post(f"/api/executions/{EXECUTION_ID}/cancel", {})

        assert answer.json() == OK
        assert not held.done()
        held.cancel()


async def test_w21_a_write_that_no_stream_acknowledges_goes_to_the_orchestrators(
    world: World,
) -> None:
    bus = world.backend.bus
    info = await bus.js.stream_info(INGRESS.name)
    sent: list[Incoming] = []

    async def commit() -> None:
        await eventually(lambda: len(sent) > 1, what="the write comes past the stream again")
        reply = encode_reply(RpcReply.with_body(OK))
        await bus.reply(sent[1].headers[REPLY_HEADER], reply)

    # As while the stream has no leader: published messages are lost silently.
    await bus.js.update_stream(info.config.evolve(subjects=["nobody_leads.>"]))
    await bus.subscribe("noetl_ingress.>", lambda _message: None)
    await bus.subscribe(writes_of_shard(0), sent.append)
    await flush(bus)
    async with running(commit()):
        answer = await world.post("/api/events", EVENT)

    assert answer.json() == OK
    message = decode_message(sent[0].data)
    assert message.execution_id == EXECUTION_ID
    assert ingress_of_write(sent[0].subject) == f"noetl_ingress.0.{EXECUTION_ID}.events"
    assert [AGAIN_HEADER in one.headers for one in sent[:2]] == [False, True]


async def test_w21_a_write_that_stays_in_its_stream_goes_to_the_orchestrators(
    world: World,
) -> None:
    """As while the durable has no leader; a second copy in the stream would be of no use."""
    bus = world.backend.bus
    world.backend.on_ingress = _hold
    sent: list[Incoming] = []

    def commit(message: Incoming) -> None:
        sent.append(message)
        if len(sent) > 1:
            reply = encode_reply(RpcReply.with_body(OK))
            bus.send_nowait(message.headers[REPLY_HEADER], reply)

    await bus.subscribe(writes_of_shard(0), commit)
    await flush(bus)
    answer = await world.post("/api/events", EVENT)

    assert answer.json() == OK
    assert [AGAIN_HEADER in one.headers for one in sent[:2]] == [False, True]
    await eventually(lambda: world.backend.ingress, what="the event was taken")
    assert len(set(world.backend.attempts)) == 1


async def test_a_report_that_the_broker_forbids_has_another_way(own_nats: NatsServer) -> None:
    """A login may lack the right to publish starts."""
    settings = nats_settings(own_nats.instance.url_of("catalog"))
    hold = Hold(event_id=5, command_id="1:s:5", step="s", attempts=0, worker_id="w", instance="a")
    report = CommandStartMessage(execution_id=EXECUTION_ID, hold=hold, events=[])
    async with connect(settings, name="edge") as bus:
        writer = IngressWriter(
            bus,
            shard_count=1,
            max_waiting=4,
            check_seconds=1,
            backlog=Backlog(limit=10),
            large=LargeWrites(bus, cast("Any", None), next_id=lambda: 1),
        )
        with pytest.raises(Refusal) as caught:
            await writer.deliver(report, seconds=PATIENCE_SECONDS)

    assert caught.value.status == 501
    assert "catalog" not in caught.value.text


async def test_with_the_stream_first_only_people_are_requested(nats_url: str) -> None:
    async with make_world(nats_url, ingress="stream") as world:
        bus = world.backend.bus
        sent: list[Incoming] = []

        def commit(message: Incoming) -> None:
            sent.append(message)
            reply = encode_reply(RpcReply.with_body({"status": "cancelled"}))
            bus.send_nowait(message.headers[REPLY_HEADER], reply)

        await bus.subscribe(writes_of_shard(0), commit)
        await flush(bus)
        event = await world.post("/api/events", EVENT)
        cancel = await world.post(f"/api/executions/{EXECUTION_ID}/cancel", {})

    assert event.json() == OK
    assert cancel.json() == {"status": "cancelled"}
    assert [one.subject.rpartition(".")[2] for one in sent] == ["cancel"]
    assert [one["type"] for one in world.backend.ingress] == ["events"]


async def test_with_the_stream_first_the_owner_is_asked_for_what_stays_in_it(nats_url: str) -> None:
    async with make_world(nats_url, ingress="stream", ingress_check_seconds=0.1) as world:
        bus = world.backend.bus
        world.backend.on_ingress = _hold
        sent: list[Incoming] = []

        def commit(message: Incoming) -> None:
            sent.append(message)
            reply = encode_reply(RpcReply.with_body(OK))
            bus.send_nowait(message.headers[REPLY_HEADER], reply)

        await bus.subscribe(writes_of_shard(0), commit)
        await flush(bus)
        answer = await world.post("/api/events", EVENT)

    assert answer.json() == OK
    assert sent
    assert len(set(world.backend.attempts)) <= 1, "one copy in the stream is enough"
