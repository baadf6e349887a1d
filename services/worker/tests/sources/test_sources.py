"""Every source on a real broker, or on the emulator: unacknowledged messages come again."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aio_pika
import nats
import pytest
import redis.asyncio
from aiokafka import AIOKafkaProducer
from noetl_common.egress import Egress
from noetl_testkit.brokers.kafka import KafkaServer
from noetl_testkit.brokers.pubsub import running_pubsub
from noetl_testkit.brokers.rabbitmq import RabbitServer, has_rabbitmq
from noetl_testkit.brokers.redis import RedisServer
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from noetl_worker.bounded_http import open_tool_client
from noetl_worker.sources import rabbitmq
from noetl_worker.sources import source as sources_module
from noetl_worker.sources.registry import Sources
from noetl_worker.sources.source import Source, SourceAway, Taken, WrongSource, client_of

WITH_SLOW = bool(os.environ.get("NOETL_TEST_SLOW_BROKERS"))
"""Set it for the brokers that take half a minute; `make triggers` uses all of them, too."""
KINDS = (
    "nats",
    "redis",
    "pubsub",
    pytest.param(
        "kafka",
        marks=pytest.mark.skipif(
            not WITH_SLOW, reason="Kafka: a group takes long; NOETL_TEST_SLOW_BROKERS=1 runs it"
        ),
    ),
    pytest.param(
        "rabbitmq",
        marks=pytest.mark.skipif(
            not (WITH_SLOW and has_rabbitmq()),
            reason="RabbitMQ: needs rabbitmq-server on this machine and NOETL_TEST_SLOW_BROKERS=1",
        ),
    ),
)

type Send = Callable[[list[bytes]], Awaitable[None]]


@dataclass
class Place:
    """A source with its broker: fields of the connection, and how messages get there."""

    kind: str
    fields: dict[str, Any]
    send: Send
    sources: Sources

    @asynccontextmanager
    async def opened(self, **changes: Any) -> AsyncIterator[Source]:
        """Open the source once."""
        fields = self.fields | changes
        source = await self.sources.make(self.kind, fields, prefetch=10, makes=True)
        await source.open()
        try:
            yield source
        finally:
            await source.close()


@pytest.fixture
async def made() -> AsyncIterator[Sources]:
    async with open_tool_client(seconds=PATIENCE_SECONDS, trust_env=False) as client:

        async def no_token() -> str:
            raise AssertionError("an emulator is asked without a token")

        yield Sources(egress=Egress(), client=client, tokens=no_token, consumer="us")


@pytest.fixture(params=KINDS)
async def place(
    request: pytest.FixtureRequest, made: Sources, tmp_path: Path, nats_url: str, bus_prefix: str
) -> AsyncIterator[Place]:
    kind = str(request.param)
    async with AsyncExitStack() as stack:
        if kind == "nats":
            fields = {"url": nats_url, "stream": bus_prefix, "consumer": "reader"}
            send = await _nats(stack, nats_url, bus_prefix)
        elif kind == "pubsub":
            emulator = stack.enter_context(running_pubsub(deadline_seconds=0.3))
            fields = {"endpoint": emulator.url, "subscription": "projects/p/subscriptions/orders"}

            async def send(bodies: list[bytes]) -> None:
                for body in bodies:
                    emulator.publish("orders", body, shade="dark")
        else:
            fields, send = await _program(stack, kind, tmp_path)
        yield Place(kind, fields, send, made)


async def _nats(stack: AsyncExitStack, url: str, name: str) -> Send:
    client = await nats.connect(url)
    stack.push_async_callback(client.close)
    js = client.jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"])

    async def send(bodies: list[bytes]) -> None:
        for body in bodies:
            await js.publish(f"{name}.new", body, headers={"X-Shade": "dark"})

    return send


async def _program(stack: AsyncExitStack, kind: str, folder: Path) -> tuple[dict[str, Any], Send]:
    server: Any = {"redis": RedisServer, "kafka": KafkaServer, "rabbitmq": RabbitServer}[kind](
        folder
    )
    stack.callback(server.kill)
    await asyncio.to_thread(server.start)
    match kind:
        case "redis":
            client = redis.asyncio.Redis.from_url(server.url)
            stack.push_async_callback(client.aclose)
            fields = {"url": server.url, "stream": "orders", "group": "g", "claim_idle_ms": 200}

            async def send(bodies: list[bytes]) -> None:
                for body in bodies:
                    await client.xadd("orders", {"data": body, "X-Shade": "dark"})

        case "kafka":
            fields = {"brokers": server.address, "topic": "orders", "group": "g"}

            async def send(bodies: list[bytes]) -> None:
                producer = AIOKafkaProducer(bootstrap_servers=server.address)
                await producer.start()
                for body in bodies:
                    await producer.send_and_wait("orders", body, headers=[("X-Shade", b"dark")])
                await producer.stop()

        case _:
            connection = await aio_pika.connect(server.url)
            stack.push_async_callback(connection.close)
            channel = await connection.channel()
            await channel.declare_queue("orders", durable=True)
            fields = {"url": server.url, "queue": "orders"}

            async def send(bodies: list[bytes]) -> None:
                for body in bodies:
                    message = aio_pika.Message(
                        body, message_id=body.decode(), headers={"X-Shade": "dark"}
                    )
                    await channel.default_exchange.publish(message, "orders")

    return fields, send


async def taken_from(source: Source, count: int) -> list[Taken]:
    """Take exactly so many messages."""
    found: list[Taken] = []

    async def enough() -> bool:
        found.extend(await source.fetch(count - len(found), 0.3))
        return len(found) == count

    await eventually(enough, what=f"{count} messages")
    return found


async def test_what_is_not_acknowledged_comes_again_with_the_same_identity(place: Place) -> None:
    await place.send([b'{"n": 1}', b'{"n": 2}', b"no json"])
    async with place.opened() as source:
        first = await taken_from(source, 3)
        await source.hold(first)
        await source.ack([first[0]])
        await source.give_back(first[1:])

    async with place.opened() as source:
        again = await taken_from(source, 2)
        await source.ack(again)

    async with place.opened() as source:
        nothing = await source.fetch(5, 0.5)

    assert sorted(str(one.message.data) for one in first) == sorted(
        ["{'n': 1}", "{'n': 2}", "no json"]
    )
    assert all(one.message.metadata["source"] == place.kind for one in first)
    names = {"x-shade", "shade"} & first[0].message.headers.keys()
    assert [first[0].message.headers[name] for name in names] == ["dark"]
    assert len({one.identity for one in first}) == 3
    assert {one.identity for one in again} == {one.identity for one in first[1:]}
    assert nothing == []


async def test_what_came_over_an_earlier_connection_keeps_nothing_from_being_acknowledged(
    place: Place,
) -> None:
    await place.send([b"1"])
    async with place.opened() as source:
        old = await taken_from(source, 1)
    await place.send([b"2"])
    async with place.opened() as source:
        found: dict[str, Taken] = {}

        async def has_second() -> bool:
            found.update({str(one.message.data): one for one in await source.fetch(5, 0.3)})
            return "2" in found

        await eventually(has_second)
        await source.hold([*old, *found.values()])
        await source.ack([*old, *found.values()])

    async with place.opened() as source:
        again = await source.fetch(5, 0.5)
    assert found["2"].identity not in {one.identity for one in again}


async def test_the_source_takes_dead_letters(place: Place) -> None:
    to = {
        "nats": f"{place.fields.get('stream')}.dead",
        "pubsub": "projects/p/topics/orders",
    }.get(place.kind, "orders")
    async with place.opened() as source:
        await source.publish(to, json.dumps({"dead": True}).encode(), {"Noetl-Dead-Reason": "why"})
        (found,) = await taken_from(source, 1)

    assert found.message.data == {"dead": True}
    assert found.message.last("noetl-dead-reason") == "why"


@pytest.mark.skipif(not (WITH_SLOW and has_rabbitmq()), reason="as that of the source")
async def test_a_queue_that_is_deleted_is_noticed(
    made: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rabbitmq, "_LOOK_SECONDS", 0.0)
    async with AsyncExitStack() as stack:
        fields, send = await _program(stack, "rabbitmq", tmp_path)
        place = Place("rabbitmq", fields, send, made)
        other = await stack.enter_async_context(await aio_pika.connect(fields["url"]))
        channel = await other.channel()
        async with place.opened() as source:
            assert await source.fetch(1, 0.1) == []
            await channel.queue_delete("orders")
            await channel.declare_queue("orders", durable=True)
            with pytest.raises(SourceAway, match="nobody reads it"):
                await taken_from(source, 1)
        async with place.opened() as source:
            await channel.queue_delete("orders")
            with pytest.raises(SourceAway, match="no queue 'orders'"):
                await taken_from(source, 1)


@pytest.mark.parametrize(
    ("kind", "fields", "text"),
    [
        ("nats", {"url": "nats://127.0.0.1:1"}, r"subscription\[nats\] requires 'stream'"),
        ("nats", {"stream": "s", "consumer": "c"}, r"subscription\[nats\] requires 'url'"),
        ("kafka", {"topic": "t"}, r"subscription\[kafka\] requires 'brokers'"),
        ("kafka", {"brokers": ["127.0.0.1:1"]}, r"subscription\[kafka\] requires 'topic'"),
        ("redis", {"url": "redis://127.0.0.1:1"}, r"subscription\[redis\] requires 'stream'"),
        ("rabbitmq", {"url": "amqp://127.0.0.1:1"}, r"subscription\[rabbitmq\] requires 'queue'"),
        ("pubsub", {}, r"subscription\[pubsub\] requires 'subscription'"),
        ("fax", {}, "Unknown or unavailable subscription source 'fax'. Available: kafka, nats"),
    ],
)
async def test_a_field_that_is_missing_is_named(
    made: Sources, kind: str, fields: Mapping[str, Any], text: str
) -> None:
    with pytest.raises(WrongSource, match=text):
        await made.make(kind, fields, prefetch=1)


@pytest.fixture
def without_clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(sources_module.importlib, "import_module", missing)
    return


@pytest.mark.usefixtures("without_clients")
def test_a_client_that_is_not_installed_is_named_with_its_extra() -> None:
    with pytest.raises(WrongSource, match=r"'aiokafka': install noetl-worker\[kafka\]"):
        client_of("aiokafka", extra="kafka")


async def test_a_source_that_is_not_there_is_away(made: Sources) -> None:
    for kind, fields in (
        ("nats", {"url": "nats://127.0.0.1:1", "stream": "s", "consumer": "c"}),
        ("redis", {"url": "redis://127.0.0.1:1", "stream": "s", "group": "g"}),
        ("rabbitmq", {"url": "amqp://127.0.0.1:1", "queue": "q"}),
        (
            "pubsub",
            {"endpoint": "http://127.0.0.1:1", "subscription": "projects/p/subscriptions/s"},
        ),
    ):
        source = await made.make(kind, fields, prefetch=1)
        with pytest.raises(SourceAway):
            await source.open()
        with contextlib.suppress(Exception):
            await source.close()


async def test_connections_lead_where_they_may(made: Sources) -> None:
    made._egress = Egress(deny=["127.0.0.0/8"])

    with pytest.raises(SourceAway, match="may not be connected to"):
        await made.make("redis", {"url": "redis://127.0.0.1", "stream": "s"}, prefetch=1)
