"""Messages that no handler can take are kept apart, with the reason."""

import asyncio

import orjson
from noetl_bus.broker import Bus
from noetl_bus.consumers.delivery import Delivery
from noetl_bus.consumers.pull import run_pull_each
from noetl_bus.publish import Outgoing
from noetl_common.errors import Permanent, Transient
from noetl_contract.ingress import decode_message
from noetl_contract.streams import DEAD
from noetl_testkit.bus import Place, durable_info, is_settled, running
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually


async def dead_letter(bus: Bus, place: Place) -> tuple[dict[str, str], bytes]:
    """The newest dead letter of a stream, once there is one."""
    subject = f"noetl_dead.{place.stream.name}"
    request = orjson.dumps({"last_by_subj": subject})

    async def exists() -> bool:
        raw = await bus.request(
            f"$JS.API.STREAM.MSG.GET.{DEAD.name}", request, seconds=PATIENCE_SECONDS
        )
        return "message" in orjson.loads(raw.data)

    await eventually(exists, what="there is a dead letter")
    message = await bus.js.get_last_msg(DEAD.name, subject)
    return dict(message.headers or {}), message.data or b""


async def test_a_hopeless_message_becomes_a_dead_letter_with_its_reason(
    bus: Bus, place: Place
) -> None:
    await bus.publish(place.subject("x"), b'{"a":1}', message_id="m1", headers={"Kind": "test"})

    async def handle(_delivery: Delivery) -> None:
        raise Permanent("no such {what}", what="thing")

    async with running(run_pull_each(bus, place.durable, handle, permits=4)):
        headers, body = await dead_letter(bus, place)
        await eventually(lambda: is_settled(bus, place, acked=1))

    assert body == b'{"a":1}'
    assert headers["Noetl-Dead-Reason"] == "Permanent: no such thing"
    assert headers["Noetl-Dead-Subject"] == place.subject("x")
    assert headers["Noetl-Dead-Message-Id"] == "m1"
    assert headers["Kind"] == "test"


async def test_an_undecodable_message_does_not_hold_up_its_neighbours(
    bus: Bus, place: Place
) -> None:
    bodies = [b"\xff\xfe garbage", b'{"type":"cancel","execution_id":1}', b"[]", b""]
    await bus.publish_many(
        [Outgoing(place.subject(), body, str(n)) for n, body in enumerate(bodies)]
    )
    good: list[int] = []

    async def handle(delivery: Delivery) -> None:
        good.append(decode_message(delivery.data).execution_id)

    async with running(run_pull_each(bus, place.durable, handle, permits=4)):
        await eventually(lambda: is_settled(bus, place, acked=4))

    assert good == [1]
    dead = await bus.js.stream_info(DEAD.name)
    assert dead.state.messages == 3


async def test_a_dead_letter_holds_no_secrets(bus: Bus, place: Place) -> None:
    body = b'{"auth":{"password":"hunter2","user":"u"},"url":"postgres://u:hunter2@h/d"}'
    await bus.publish(place.subject(), body, message_id="1", headers={"Authorization": "hunter2"})

    async def handle(delivery: Delivery) -> None:
        await delivery.dead_letter("test")

    async with running(run_pull_each(bus, place.durable, handle, permits=1)):
        headers, kept = await dead_letter(bus, place)

    assert b"hunter2" not in kept
    assert "hunter2" not in str(headers)
    assert orjson.loads(kept)["auth"]["user"] == "u"


async def test_used_up_attempts_end_in_a_dead_letter(bus: Bus, place: Place) -> None:
    await bus.publish(place.subject(), b"", message_id="1")

    async def handle(_delivery: Delivery) -> None:
        raise Transient("never")

    async with running(run_pull_each(bus, place.durable, handle, permits=1, max_attempts=2)):
        headers, _ = await dead_letter(bus, place)

    assert headers["Noetl-Dead-Reason"] == "attempts used up: Transient: never"
    assert headers["Noetl-Dead-Deliveries"] == "2"


async def test_a_message_that_never_gets_an_answer_ends_in_a_dead_letter(
    bus: Bus, place: Place
) -> None:
    """A message that kills its process would otherwise do so for ever."""
    await bus.publish(place.subject(), b"", message_id="1")
    attempts = 0

    async def handle(delivery: Delivery) -> None:
        nonlocal attempts
        attempts += 1
        await delivery.nak()

    async with running(run_pull_each(bus, place.durable, handle, permits=1, max_attempts=1)):
        headers, _ = await dead_letter(bus, place)

    assert headers["Noetl-Dead-Reason"] == "delivered 6 times, never answered"
    assert attempts == 5


async def test_a_dead_letter_that_cannot_be_stored_keeps_the_message(
    bus: Bus, place: Place
) -> None:
    """Otherwise a full dead-letter stream would eat messages."""
    await bus.publish(place.subject(), b"", message_id="1")
    await bus.js.delete_stream(DEAD.name)
    burying = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        burying.set()
        await delivery.dead_letter("test")

    async with running(run_pull_each(bus, place.durable, handle, permits=1, drain_seconds=0.1)):
        await burying.wait()

    assert (await durable_info(bus, place))["ack_floor"]["stream_seq"] == 0
