"""Cases of what our bus uses of a broker; the simulated one and a real one have to agree.

Run as a program it prints the results of the simulated one.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    from tests.simulation import clocks

    clocks.install()

from noetl_bus import jetstream
from noetl_bus.broker import Bus
from noetl_bus.consumers.standing_pull import StandingPull
from noetl_bus.errors import BusUnavailable, StreamFull
from noetl_bus.topology import ensure_durable, ensure_stream
from noetl_testkit.bus import Place, flush, make_place
from noetl_testkit.waiting import eventually

if TYPE_CHECKING:
    from noetl_bus.consumers.delivery import Delivery

type Case = Callable[[Bus, Bus], Awaitable[Any]]

SECONDS = 60.0
_WAIT = timedelta(seconds=1.0)


async def core_subjects(bus: Bus, other: Bus) -> Any:
    """Wildcards, queues, and requests that nobody hears."""
    heard: list[str] = []
    for pattern, queue in (("a.*.c", ""), ("a.>", ""), ("a.b.c", ""), ("a.b.*", "q")):
        await bus.subscribe(
            pattern, lambda m, p=pattern: heard.append(f"{p}:{m.data.decode()}"), queue=queue
        )
    await other.subscribe("a.b.*", lambda m: heard.append("a.b.*:" + m.data.decode()), queue="q")
    await flush(bus)
    await flush(other)
    for subject in ("a.b.c", "a.b", "a", "a.x.c", "b"):
        await bus.send(subject, subject.encode())
    await flush(bus)
    await flush(other)
    try:
        await bus.request("nobody.there", b"", seconds=SECONDS)
        reason = "answered"
    except BusUnavailable as error:
        reason = error.context["reason"]
    return [sorted(heard), reason]


async def requests_and_headers(bus: Bus, other: Bus) -> Any:
    """A request's answer and headers come as they were sent."""
    got: list[Any] = []

    def answer(message: Any) -> None:
        got.append([message.subject, message.data.decode(), dict(message.headers)])
        other.send_nowait(message.reply, b"answer")

    await other.subscribe("ask.me", answer)
    await flush(other)
    reply = await bus.request("ask.me", b"body", headers={"A": "1", "B": "x y"}, seconds=SECONDS)
    return [got, reply.data.decode()]


async def acknowledged_publishing(bus: Bus, _other: Bus) -> Any:
    """Sequences, repetitions, a subject without a stream, and the stream's numbers."""
    place = make_place("published")
    await ensure_stream(bus, place.stream)
    acks = [
        await bus.publish(place.subject(), b"x", message_id=one, seconds=SECONDS)
        for one in ("one", "two", "one", None)
    ]
    try:
        await bus.publish("no.stream.at.all", b"", message_id="a", seconds=0.5)
        missing = "stored"
    except BusUnavailable:
        missing = "unavailable"
    info = await jetstream.stream_info(bus, place.stream.name)
    return [
        [[ack.sequence, bool(ack.duplicate)] for ack in acks],
        missing,
        [info.messages, info.first_sequence, info.last_sequence] if info else None,
    ]


async def full_stream(bus: Bus, _other: Bus) -> Any:
    """A stream that discards new messages refuses what is too much."""
    place = make_place("filled", max_bytes=2000)
    await ensure_stream(bus, place.stream)
    stored = 0
    try:
        for _ in range(50):
            await bus.publish(place.subject(), bytes(900), message_id=None, seconds=SECONDS)
            stored += 1
    except StreamFull:
        return ["full", stored]
    return ["never full", stored]


async def messages_by_number(bus: Bus, _other: Bus) -> Any:
    """Messages are found by number and by subject, deleted, and purged by subject."""
    place = make_place("numbered")
    await ensure_stream(bus, place.stream)
    for last in ("a", "b", "a", "c"):
        await bus.publish(place.subject(last), last.encode(), message_id=f"{last}", seconds=SECONDS)
    name = place.stream.name
    second = await jetstream.get_message(bus, name, 2)
    following = await jetstream.get_message(bus, name, 2, next_of=place.subject("c"))
    missing = await jetstream.get_message(bus, name, 99)
    deleted = [await jetstream.delete_message(bus, name, number) for number in (2, 2, 99)]
    await jetstream.call(bus, f"STREAM.PURGE.{name}", {"filter": place.subject("a")})
    info = await jetstream.stream_info(bus, name)
    nothing = await jetstream.stream_info(bus, "no_such_stream")
    return [
        [second.subject, second.data.decode(), second.message_id] if second else None,
        following.sequence if following else None,
        missing,
        deleted,
        [info.messages, info.first_sequence, info.last_sequence] if info else None,
        nothing,
    ]


async def _taken(pull: StandingPull, most: int = 10) -> "list[Delivery]":
    async with asyncio.timeout(SECONDS):
        return await pull.receive(most)


def _seen(deliveries: "list[Delivery]") -> Any:
    return [
        [one.data.decode(), one.num_delivered, one.stream_sequence, one.num_pending]
        for one in deliveries
    ]


async def _filled(bus: Bus, place: Place, *bodies: str) -> None:
    await ensure_stream(bus, place.stream)
    await ensure_durable(bus, place.durable)
    for body in bodies:
        await bus.publish(place.subject(), body.encode(), message_id=body, seconds=SECONDS)


async def work_queue(bus: Bus, _other: Bus) -> Any:
    """Acknowledged messages leave a work queue; others come again."""
    place = make_place("queue", retention="workqueue")
    await _filled(bus, place, "one", "two", "three")
    seen = []
    async with StandingPull(bus, place.durable, window=1) as pull:
        for _ in range(5):
            (delivery,) = await _taken(pull, 1)
            seen += _seen([delivery])
            if delivery.data == b"one" and delivery.num_delivered < 3:
                await delivery.nak()
            elif delivery.data == b"two":
                await delivery.term()
            else:
                await delivery.ack()

        async def is_empty() -> bool:
            info = await jetstream.stream_info(bus, place.stream.name)
            return info is not None and info.messages == 0

        # A broker deletes a message some time after it has received the acknowledgement.
        await eventually(is_empty, what="acknowledged messages leave the stream")
    # A real broker may deliver a returned message before or after a new one.
    return sorted(one[:2] for one in seen)


async def delayed_return(bus: Bus, _other: Bus) -> Any:
    """A message that is given back with a delay comes after it, others before."""
    place = make_place("delayed")
    await _filled(bus, place, "one", "two")
    async with StandingPull(bus, place.durable, window=1) as pull:
        loop = asyncio.get_running_loop()
        (first,) = await _taken(pull, 1)
        await first.nak(1.0)
        began = loop.time()
        (second,) = await _taken(pull, 1)
        await second.ack()
        (again,) = await _taken(pull, 1)
        is_late = loop.time() - began > 0.7
        await again.ack()
    return [_seen([first, second, again]), is_late]


async def unanswered(bus: Bus, other: Bus) -> Any:
    """An unanswered message is delivered again in time, to whoever asks."""
    place = make_place("unanswered").with_durable(ack_wait=_WAIT)
    await _filled(bus, place, "one")
    operation = f"CONSUMER.MSG.NEXT.{place.stream.name}.{place.durable.name}"
    inbox, came = bus.nc.new_inbox(), asyncio.get_running_loop().create_future()
    await bus.subscribe(inbox, came.set_result)
    await bus.send(f"$JS.API.{operation}", b'{"batch":1}', reply=inbox)
    async with asyncio.timeout(SECONDS):
        first = await came
    info = await jetstream.consumer_info(bus, place.stream.name, place.durable.name)
    async with StandingPull(other, place.durable, window=4) as pull:
        (again,) = await _taken(pull)
        await again.ack()
        await flush(other)
    after = await jetstream.consumer_info(bus, place.stream.name, place.durable.name)
    return [
        first.data.decode(),
        [info.pending, info.unanswered, info.delivered_sequence] if info else None,
        _seen([again]),
        [after.pending, after.unanswered] if after else None,
    ]


async def filtered(bus: Bus, _other: Bus) -> Any:
    """A durable gets its subjects alone; a pull of many gets all that is there."""
    place = make_place("filtered")
    place = replace(place, durable=replace(place.durable, filter_subject="filtered.x.*"))
    await ensure_stream(bus, place.stream)
    for last in ("x.1", "y.1", "x.2", "x", "x.3"):
        await bus.publish(place.subject(last), last.encode(), message_id=None, seconds=SECONDS)
    seen: list[Any] = []
    async with StandingPull(bus, place.durable, window=10) as pull:
        while len(seen) < 3:
            deliveries = await _taken(pull)
            seen += _seen(deliveries)
            for one in deliveries:
                await one.ack()
    listed = await jetstream.list_consumers(bus, place.stream.name)
    return [seen, [[one.name, *one.filters] for one in listed or []]]


async def expired_request(bus: Bus, _other: Bus) -> Any:
    """A request that gets nothing ends with its number, and a missing durable says so."""
    place = make_place("expired")
    await _filled(bus, place)
    got: list[Any] = []
    async with asyncio.timeout(SECONDS):
        inbox = f"{bus.nc.new_inbox()}"
        ended = asyncio.Event()

        def take(message: Any) -> None:
            got.append(
                [message.headers.get("Status"), message.headers.get("Nats-Pending-Messages")]
            )
            if message.headers.get("Status") != "100":
                ended.set()

        await bus.subscribe(inbox, take)
        operation = f"$JS.API.CONSUMER.MSG.NEXT.{place.stream.name}.{place.durable.name}"
        body = b'{"batch":3,"expires":1500000000,"idle_heartbeat":500000000}'
        await bus.send(operation, body, reply=inbox)
        await ended.wait()
        ended.clear()
        await bus.send(f"{operation}x", body, reply=inbox)
        await ended.wait()
    return [got[0][0], got[-2:]]


async def acknowledged_elsewhere(bus: Bus, other: Bus) -> Any:
    """An acknowledgement goes to the subject that the publisher names."""
    place = make_place("told")
    await ensure_stream(bus, place.stream)
    told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    await other.subscribe("hint.*", lambda m: told.set_result([m.subject, json.loads(m.data)]))
    await flush(other)
    from noetl_bus.publish import Outgoing  # noqa: PLC0415

    await bus.publish_without_waiting(
        Outgoing(place.subject(), b"x", "id"), acknowledge_to="hint.row"
    )
    async with asyncio.timeout(SECONDS):
        subject, ack = await told
    return [subject, ack["stream"], ack["seq"]]


async def changed_durable(bus: Bus, _other: Bus) -> Any:
    """A durable that differs is changed, and keeps what it has delivered."""
    place = make_place("changed")
    await _filled(bus, place, "one", "two")
    async with StandingPull(bus, place.durable, window=1) as pull:
        (one,) = await _taken(pull, 1)
        await one.ack()
    changed = place.with_durable(ack_wait=timedelta(seconds=7))
    info = await ensure_durable(bus, changed.durable)
    async with StandingPull(bus, changed.durable, window=1) as pull:
        (two,) = await _taken(pull, 1)
        await two.ack()
    return [info["config"]["ack_wait"], _seen([one]), _seen([two])[0][:1]]


CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        core_subjects, requests_and_headers, acknowledged_publishing, full_stream,
        messages_by_number, work_queue, delayed_return, unanswered, filtered, expired_request,
        acknowledged_elsewhere, changed_durable,
    )
}  # fmt: skip


def simulated() -> dict[str, Any]:
    """Return what the simulated broker does with all cases."""
    from noetl_bus.broker import connect  # noqa: PLC0415 -- after the clocks
    from noetl_testkit.bus import nats_settings  # noqa: PLC0415

    from tests.simulation.broker import Broker  # noqa: PLC0415
    from tests.simulation.network import Network  # noqa: PLC0415
    from tests.simulation.universe import Process, Universe  # noqa: PLC0415

    found: dict[str, Any] = {}
    for number, (name, case) in enumerate(CASES.items()):
        universe = Universe(number)
        process = Process(universe, name)
        process.network = Network(universe, Broker(universe))
        settings = nats_settings("nats://simulated:4222")

        async def run(case: Case = case, name: str = name, settings: Any = settings) -> None:
            async with connect(settings, name="one") as one, connect(settings, name="two") as two:
                found[name] = await case(one, two)

        process.start(run)
        universe.run(600.0, lambda process=process: not process.is_alive)
        if name not in found:
            found[name] = [str(line) for line in universe.trace[-5:]]
    return found


if __name__ == "__main__":
    sys.stdout.write(f"\n{json.dumps(simulated())}\n")
