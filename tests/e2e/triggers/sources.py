"""The sources that the proofs of subscriptions send messages through."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import aio_pika
import nats
import redis
from aiokafka import AIOKafkaProducer
from noetl_testkit.brokers.kafka import KafkaServer
from noetl_testkit.brokers.pubsub import PubSubEmulator, running_pubsub
from noetl_testkit.brokers.rabbitmq import RabbitServer
from noetl_testkit.brokers.redis import RedisServer
from noetl_testkit.nats import NatsServer, running_nats

type Body = bytes


class Source(Protocol):
    """A source with one queue, stream or topic."""

    kind: str
    can_restart: bool
    """Whether it keeps its stored messages when it is killed."""

    def fields(self) -> dict[str, Any]:
        """Return the fields of a subscription that reads it."""

    def send(self, bodies: Sequence[Body]) -> None:
        """Store messages; all of them are stored when this returns."""

    def restart(self) -> None:
        """Kill the broker and start it again."""


class NatsStream:
    kind, can_restart = "nats", True

    def __init__(self, server: NatsServer) -> None:
        self.server = server
        self._sent = 0
        asyncio.run(self._prepare())

    def fields(self) -> dict[str, Any]:
        return {"url": self.server.url, "stream": "orders", "consumer": "noetl"}

    async def _prepare(self) -> None:
        client = await nats.connect(self.server.url)
        await client.jetstream().add_stream(name="orders", subjects=["orders.>"])
        await client.close()

    def send(self, bodies: Sequence[Body]) -> None:
        async def run() -> None:
            client = await nats.connect(self.server.url)
            js = client.jetstream(publish_async_max_pending=1000)
            for at in range(0, len(bodies), 200):
                await asyncio.gather(
                    *(js.publish("orders.new", body) for body in bodies[at : at + 200])
                )
            await client.close()

        asyncio.run(run())

    def restart(self) -> None:
        self.server.restart()


class RedisStream:
    kind, can_restart = "redis", True

    def __init__(self, server: RedisServer) -> None:
        self.server = server

    def fields(self) -> dict[str, Any]:
        place = {"url": self.server.url, "stream": "orders", "group": "noetl"}
        return {**place, "claim_idle_ms": 2000}

    def send(self, bodies: Sequence[Body]) -> None:
        with redis.Redis.from_url(self.server.url) as client:
            for at in range(0, len(bodies), 200):
                with client.pipeline(transaction=False) as pipe:
                    for body in bodies[at : at + 200]:
                        pipe.xadd("orders", {"data": body})
                    pipe.execute()

    def restart(self) -> None:
        self.server.restart()


class RabbitQueue:
    kind, can_restart = "rabbitmq", True

    def __init__(self, server: RabbitServer) -> None:
        self.server = server
        self._sent = 0
        asyncio.run(self._prepare())

    def fields(self) -> dict[str, Any]:
        return {"url": self.server.url, "queue": "orders"}

    async def _prepare(self) -> None:
        async with await aio_pika.connect(self.server.url) as connection:
            channel = await connection.channel()
            await channel.declare_queue("orders", durable=True)

    def send(self, bodies: Sequence[Body]) -> None:
        async def run() -> None:
            async with await aio_pika.connect(self.server.url) as connection:
                channel = await connection.channel(publisher_confirms=True)
                for at in range(0, len(bodies), 200):
                    await asyncio.gather(
                        *(
                            channel.default_exchange.publish(self._message(body), "orders")
                            for body in bodies[at : at + 200]
                        )
                    )

        asyncio.run(run())

    def _message(self, body: Body) -> aio_pika.Message:
        self._sent += 1
        return aio_pika.Message(
            body,
            message_id=f"m-{self._sent}",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )

    def restart(self) -> None:
        self.server.restart()


class KafkaTopic:
    kind, can_restart = "kafka", False

    def __init__(self, server: KafkaServer) -> None:
        self.server = server
        self.send([])

    def fields(self) -> dict[str, Any]:
        return {"brokers": [self.server.address], "topic": "orders", "group": "noetl"}

    def send(self, bodies: Sequence[Body]) -> None:
        async def run() -> None:
            producer = AIOKafkaProducer(bootstrap_servers=self.server.address, acks="all")
            await producer.start()
            await producer.client.force_metadata_update()
            for at in range(0, len(bodies), 200):
                await asyncio.gather(
                    *[await producer.send("orders", body) for body in bodies[at : at + 200]]
                )
            await producer.stop()

        asyncio.run(run())

    def restart(self) -> None:
        raise NotImplementedError("it would forget everything")


class PubSubTopic:
    kind, can_restart = "pubsub", True

    def __init__(self, emulator: PubSubEmulator) -> None:
        self.emulator = emulator

    def fields(self) -> dict[str, Any]:
        return {
            "endpoint": self.emulator.url,
            "subscription": "projects/noetl/subscriptions/orders",
        }

    def send(self, bodies: Sequence[Body]) -> None:
        for body in bodies:
            self.emulator.publish("orders", body)

    def restart(self) -> None:
        self.emulator.is_down = True
        threading_pause()
        self.emulator.is_down = False


def threading_pause() -> None:
    """Let the outage be noticed."""
    import time  # noqa: PLC0415

    time.sleep(1.0)


KINDS = ("nats", "redis", "rabbitmq", "kafka", "pubsub")


@contextmanager
def running_source(kind: str) -> Iterator[Source]:
    """Run a broker for the length of the block."""
    folder = Path(tempfile.mkdtemp(prefix=f"noetl-{kind}-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        match kind:
            case "nats":
                yield NatsStream(stack.enter_context(running_nats(folder)))
            case "pubsub":
                yield PubSubTopic(stack.enter_context(running_pubsub(deadline_seconds=2.0)))
            case "redis" | "rabbitmq" | "kafka":
                make: Any = {
                    "redis": (RedisServer, RedisStream),
                    "rabbitmq": (RabbitServer, RabbitQueue),
                    "kafka": (KafkaServer, KafkaTopic),
                }[kind]
                server = make[0](folder)
                stack.callback(server.kill)
                server.start()
                yield make[1](server)


def bodies(first: int, count: int) -> list[Body]:
    """Return messages with their numbers."""
    return [json.dumps({"number": number}).encode() for number in range(first, first + count)]


def poison(number: int) -> Body:
    """Return a message that no playbook can be started with: it is nested too deeply."""
    return b'{"number": %d, "deep": %s1%s}' % (number, b"[" * 200, b"]" * 200)
