"""Request/reply between services."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from nats.aio.msg import Msg
from noetl_bus import wire
from noetl_bus.broker import Bus, connect
from noetl_bus.inbox import PART_HEADER, Incoming, PartCollector, split
from noetl_bus.rpc import Handler, RpcClient, RpcUnavailable, handle, serve_rpc
from noetl_common.errors import NotFound, TooLarge
from noetl_contract.ingress import DEADLINE_HEADER, CancelMessage
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc import RpcReply
from noetl_contract.rpc.operation import Operation
from noetl_testkit.bus import flush, nats_settings
from noetl_testkit.nats import NatsServer
from noetl_testkit.rpc import fake_handler
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually, unless_it_hangs
from pydantic import TypeAdapter

type Function = Callable[[JsonObject], Awaitable[RpcReply | JsonObject]]

_PLACE = "noetl_rpc.catalog.cluster."


@pytest.fixture
def client(bus: Bus) -> RpcClient:
    return RpcClient(bus)


@pytest.fixture
def subject(bus_prefix: str) -> str:
    return _PLACE + bus_prefix


def handlers(subject: str, function: Function) -> list[Handler]:
    return [fake_handler("catalog", subject.removeprefix(_PLACE), function)]


async def test_a_dict_is_the_body_of_a_success(bus: Bus, client: RpcClient, subject: str) -> None:
    async def double(request: dict[str, Any]) -> dict[str, Any]:
        return {"doubled": request["number"] * 2}

    async with serve_rpc(bus, handlers(subject, double), queue="q"):
        reply = await client.call(subject, {"number": 21}, seconds=PATIENCE_SECONDS)

    assert reply == RpcReply.with_body({"doubled": 42})


async def test_bodies_of_all_sizes_travel(bus: Bus, client: RpcClient, subject: str) -> None:
    body = {"text": "x" * 200_000}

    async def answer(request: dict[str, Any]) -> dict[str, Any]:
        return body if request["large"] else {"text": "x"}

    async with serve_rpc(bus, handlers(subject, answer), queue="q"):
        large = await client.call(subject, {"large": True}, seconds=PATIENCE_SECONDS)
        small = await client.call(subject, {"large": False}, seconds=PATIENCE_SECONDS)

    assert large.body == body
    assert small.body == {"text": "x"}


async def test_a_busy_request_that_is_lost_is_sent_again(
    bus: Bus, client: RpcClient, subject: str
) -> None:
    asked: list[Incoming] = []

    def lose_two(request: Incoming) -> None:
        asked.append(request)
        if len(asked) == 3:
            wire.write_nowait(bus.nc, wire.command(request.reply, b'{"status":200,"body":3}'))

    subscription = await bus.subscribe(subject, lose_two)
    reply = await client.call(subject, b"{}", seconds=PATIENCE_SECONDS, is_busy=True)
    await subscription.unsubscribe()

    assert reply.body == 3
    assert len({request.reply for request in asked}) == 3


async def test_other_requests_are_sent_once(bus: Bus, client: RpcClient, subject: str) -> None:
    asked: list[Incoming] = []
    subscription = await bus.subscribe(subject, asked.append)

    with pytest.raises(RpcUnavailable, match="no answer"):
        await client.call(subject, b"{}", seconds=1.2)
    await subscription.unsubscribe()

    assert len(asked) == 1


async def test_answers_to_repetitions_are_kept_apart(bus: Bus) -> None:
    def part(subject: str, number: int, data: bytes) -> Msg:
        return Msg(bus.nc, subject, data=data, headers={PART_HEADER: f"{number}/2/4"})

    with bus.answers.expect() as waiter:
        twin = waiter.repeat()
        nobody = Msg(bus.nc, twin, headers={"Status": "503"})
        for message in (nobody, part(waiter.subject, 1, b"aa"), part(twin, 2, b"BB")):
            bus.answers.deliver(message)
        assert not waiter.answer.done()
        bus.answers.deliver(part(twin, 1, b"AA"))
        bus.answers.deliver(part(waiter.subject, 2, b"bb"))

    assert (await waiter.answer).data == b"AABB"


async def test_status_and_detail_travel(bus: Bus, client: RpcClient, subject: str) -> None:
    async def refuse(_request: dict[str, Any]) -> RpcReply:
        return RpcReply(status=409, error="too late", detail={"since": 1})

    async with serve_rpc(bus, handlers(subject, refuse), queue="q"):
        reply = await client.call(subject, b"{}", seconds=PATIENCE_SECONDS)

    assert reply == RpcReply(status=409, error="too late", detail={"since": 1})


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (NotFound(what="it"), 404),
        (RuntimeError("secret internals"), 500),
        (ValueError("secret internals"), 500),
    ],
)
async def test_an_error_becomes_an_answer(
    bus: Bus, client: RpcClient, subject: str, failure: Exception, status: int
) -> None:
    async def fail(_request: dict[str, Any]) -> RpcReply:
        raise failure

    async with serve_rpc(bus, handlers(subject, fail), queue="q"):
        reply = await client.call(subject, {}, seconds=PATIENCE_SECONDS)

    assert reply.status == status
    assert "secret" not in str(reply)


async def test_a_request_of_the_wrong_shape_is_the_callers_mistake(
    bus: Bus, client: RpcClient, subject: str
) -> None:
    async def strict(request: CancelMessage) -> Json:
        return request.execution_id

    name = subject.removeprefix(_PLACE)
    operation = Operation("catalog", name, CancelMessage, TypeAdapter(Json))
    async with serve_rpc(bus, [handle(operation, strict)], queue="q"):
        wrong = await client.call(subject, {"execution_id": "x"}, seconds=PATIENCE_SECONDS)
        broken = await client.call(subject, b"\xff", seconds=PATIENCE_SECONDS)
        listed = await client.call(subject, b"[]", seconds=PATIENCE_SECONDS)

    assert (wrong.status, broken.status, listed.status) == (422, 400, 400)
    assert wrong.detail[0]["loc"] == ["execution_id"]


async def test_without_a_service_the_call_fails_at_once(client: RpcClient, subject: str) -> None:
    async with unless_it_hangs():
        with pytest.raises(RpcUnavailable, match="no service listens"):
            await client.call(subject, {}, seconds=PATIENCE_SECONDS)


async def test_a_call_may_wait_for_its_service(bus: Bus, client: RpcClient, subject: str) -> None:
    """A restart of a service is no error for those who can wait."""

    async def answer(_request: dict[str, Any]) -> dict[str, Any]:
        return {}

    call = asyncio.ensure_future(
        client.call(subject, {}, seconds=PATIENCE_SECONDS, wait_for_responder=True)
    )
    await asyncio.sleep(0)
    async with serve_rpc(bus, handlers(subject, answer), queue="q"):
        assert (await call).status == 200


async def test_no_answer_in_time_is_an_error(bus: Bus, client: RpcClient, subject: str) -> None:
    go_on = asyncio.Event()

    async def late(_request: dict[str, Any]) -> dict[str, Any]:
        await go_on.wait()
        return {}

    async with serve_rpc(bus, handlers(subject, late), queue="q"):
        with pytest.raises(RpcUnavailable, match="no answer"):
            await client.call(subject, {}, seconds=0.1)
        go_on.set()


async def test_a_request_whose_sender_gave_up_is_dropped(
    bus: Bus, client: RpcClient, subject: str
) -> None:
    go_on = asyncio.Event()
    worked: list[str] = []

    async def work(request: dict[str, Any]) -> dict[str, Any]:
        worked.append(request["name"])
        await go_on.wait()
        return {}

    async with serve_rpc(bus, handlers(subject, work), queue="q", concurrency=1):
        first = asyncio.ensure_future(
            client.call(subject, {"name": "first"}, seconds=PATIENCE_SECONDS)
        )
        await eventually(lambda: worked == ["first"])
        with pytest.raises(RpcUnavailable):
            await client.call(subject, {"name": "impatient"}, seconds=0.1)
        # Its patience counts from when the service got it, which is now at the latest.
        await flush(bus)
        await asyncio.sleep(0.1)
        go_on.set()
        await first
        await client.call(subject, {"name": "last"}, seconds=PATIENCE_SECONDS)

    assert worked == ["first", "last"]


async def test_work_past_its_deadline_is_dropped(bus: Bus, subject: str) -> None:
    """Requests of others carry the deadline only."""
    worked: list[dict[str, Any]] = []

    async def work(request: dict[str, Any]) -> dict[str, Any]:
        worked.append(request)
        return {}

    async with serve_rpc(bus, handlers(subject, work), queue="q"):
        await bus.send(subject, b'{"late":true}', {DEADLINE_HEADER: "1000"})
        await bus.send(subject, b'{"late":false}')
        await eventually(lambda: worked)

    assert worked == [{"late": False}]


async def test_too_many_waiting_requests_are_refused_at_once(
    bus: Bus, client: RpcClient, subject: str
) -> None:
    go_on = asyncio.Event()

    async def work(_request: dict[str, Any]) -> dict[str, Any]:
        await go_on.wait()
        return {}

    async with serve_rpc(bus, handlers(subject, work), queue="q", concurrency=1):
        calls = [
            asyncio.ensure_future(client.call(subject, {}, seconds=PATIENCE_SECONDS))
            for _ in range(64)
        ]
        await eventually(lambda: any(call.done() for call in calls))
        refused = [call.result() for call in calls if call.done()]
        go_on.set()
        statuses = [reply.status for reply in await asyncio.gather(*calls)]

    assert {503} == {reply.status for reply in refused}
    assert statuses.count(200) >= 32


async def test_an_answer_above_the_brokers_limit_comes_whole(
    bus: Bus, client: RpcClient, subject: str
) -> None:
    text = "x" * (bus.largest_message * 2 + 17)

    async def large(_request: dict[str, Any]) -> dict[str, Any]:
        return {"text": text}

    async with serve_rpc(bus, handlers(subject, large), queue="q"):
        reply = await client.call(subject, {}, seconds=PATIENCE_SECONDS)

    assert reply.body == {"text": text}


async def test_a_request_above_the_brokers_limit_is_refused_here(
    bus: Bus, client: RpcClient, subject: str
) -> None:
    """The broker would end the connection."""
    with pytest.raises(TooLarge):
        await client.call(subject, b"x" * (bus.largest_message + 1), seconds=PATIENCE_SECONDS)

    await flush(bus)


async def test_replicas_share_requests(
    bus: Bus, client: RpcClient, subject: str, nats_url: str
) -> None:
    served = {"a": 0, "b": 0}

    def handler(name: str) -> Function:
        async def handle(_request: dict[str, Any]) -> dict[str, Any]:
            served[name] += 1
            return {}

        return handle

    async with (
        connect(nats_settings(nats_url), name="replica") as replica,
        serve_rpc(bus, handlers(subject, handler("a")), queue="q"),
        serve_rpc(replica, handlers(subject, handler("b")), queue="q"),
    ):
        await asyncio.gather(
            *(client.call(subject, {}, seconds=PATIENCE_SECONDS) for _ in range(100))
        )

    assert sum(served.values()) == 100
    assert min(served.values()) > 0


async def test_requests_in_hand_are_answered_at_the_end(
    bus: Bus, client: RpcClient, subject: str
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work(_request: dict[str, Any]) -> dict[str, Any]:
        begun.set()
        await go_on.wait()
        return {}

    async with serve_rpc(bus, handlers(subject, work), queue="q"):
        call = asyncio.ensure_future(client.call(subject, {}, seconds=PATIENCE_SECONDS))
        await begun.wait()
        asyncio.get_running_loop().call_later(0.05, go_on.set)

    assert (await call).status == 200


async def test_calls_work_again_after_a_restart(own_nats: NatsServer, own_bus: Bus) -> None:
    async def answer(_request: dict[str, Any]) -> dict[str, Any]:
        return {}

    client = RpcClient(own_bus)
    async with serve_rpc(own_bus, handlers(_PLACE + "x", answer), queue="q"):
        await asyncio.to_thread(own_nats.kill)
        await eventually(lambda: not own_bus.is_connected)
        call = asyncio.ensure_future(client.call(_PLACE + "x", {}, seconds=PATIENCE_SECONDS))
        await asyncio.to_thread(own_nats.start)

        assert (await call).status == 200


async def test_who_serves_is_heard_by_a_broker_that_is_slow_at_first(
    own_nats: NatsServer, own_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request over another connection right afterwards finds somebody."""
    flush_bus, answers = own_bus.flush, [False, False]

    async def answer(_request: dict[str, Any]) -> dict[str, Any]:
        return {}

    async def flush_slowly() -> bool:
        return answers.pop() if answers else await flush_bus()

    monkeypatch.setattr(own_bus, "flush", flush_slowly)
    serving = serve_rpc(own_bus, handlers(_PLACE + "x", answer), queue="q")
    async with connect(nats_settings(own_nats.url), name="other") as other, serving:
        assert answers == []
        reply = await RpcClient(other).call(_PLACE + "x", {}, seconds=PATIENCE_SECONDS)

    assert reply.status == 200


async def test_who_serves_waits_for_no_broker_that_is_gone(
    own_nats: NatsServer, own_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(_request: dict[str, Any]) -> dict[str, Any]:
        return {}

    async def lose() -> bool:
        await asyncio.to_thread(own_nats.kill)
        await eventually(lambda: not own_bus.is_connected)
        return False

    client = RpcClient(own_bus)
    with monkeypatch.context() as patch:
        patch.setattr(own_bus, "flush", lose)
        async with serve_rpc(own_bus, handlers(_PLACE + "x", answer), queue="q"):
            patch.undo()
            await asyncio.to_thread(own_nats.start)

            assert (await client.call(_PLACE + "x", {}, seconds=PATIENCE_SECONDS)).status == 200


async def test_a_request_on_its_way_fails_with_its_connection(
    own_nats: NatsServer, own_bus: Bus
) -> None:
    """Waiting for the timeout would not help: the answer is lost."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def late(_request: dict[str, Any]) -> dict[str, Any]:
        asked.set()
        await go_on.wait()
        return {}

    async with serve_rpc(own_bus, handlers(_PLACE + "x", late), queue="q"):
        call = asyncio.ensure_future(
            RpcClient(own_bus).call(_PLACE + "x", {}, seconds=PATIENCE_SECONDS)
        )
        await asked.wait()
        await asyncio.to_thread(own_nats.kill)
        with pytest.raises(RpcUnavailable, match="connection was lost"):
            await call
        go_on.set()
    await asyncio.to_thread(own_nats.start)


async def test_a_lossy_message_without_a_connection_is_dropped(
    own_nats: NatsServer, own_bus: Bus
) -> None:
    """Kept, it would be said to whatever comes after the outage."""
    heard: list[bytes] = []
    await own_bus.subscribe("hint.x", lambda incoming: heard.append(incoming.data))
    await asyncio.to_thread(own_nats.kill)
    await eventually(lambda: not own_bus.is_connected)
    await own_bus.send("hint.x", b"lost")
    await own_bus.reply("hint.x", b"lost too")
    await asyncio.to_thread(own_nats.start)
    await eventually(lambda: own_bus.is_connected)
    await own_bus.send("hint.x", b"heard")
    await eventually(lambda: heard)

    assert heard == [b"heard"]


async def test_a_waiter_gets_what_is_sent_to_its_subject(bus: Bus) -> None:
    with bus.inbox().expect() as one, bus.inbox().expect() as two:
        await bus.reply(two.subject, b"for two")
        await bus.reply(one.subject, b"for one")

        assert await one.wait(PATIENCE_SECONDS) == b"for one"
        assert await two.wait(PATIENCE_SECONDS) == b"for two"


async def test_a_subscriber_that_fails_hears_the_next_message(bus: Bus, subject: str) -> None:
    """An exception must not end the client's read loop."""
    heard: list[bytes] = []

    def take(incoming) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        if incoming.data == b"bad":
            raise RuntimeError("a bug")
        heard.append(incoming.data)

    await bus.subscribe(subject, take)
    await bus.send(subject, b"bad")
    await bus.send(subject, b"good")
    await eventually(lambda: heard)

    assert heard == [b"good"]


def test_parts_join_in_any_order_and_with_repetitions() -> None:
    body = bytes(range(256)) * 5
    pieces = [(headers, bytes(part)) for headers, part in split(body, limit=100)]
    collector = PartCollector()
    joined = [
        collector.add(headers, data)
        for headers, data in [pieces[3], pieces[3], *reversed(pieces)][:-1]
    ]

    assert all(whole is None for whole in joined)
    assert collector.add(*pieces[0]) == body
