"""Costs of the bus: publish, pull, acknowledge, request; one client process, one real broker.

Run: `python benchmarks/bus.py [--messages N] [--size BYTES]`. Starts a broker of its own.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time

import uvloop
from noetl_bus.broker import Bus, connect
from noetl_bus.consumers.delivery import Delivery, ack_all
from noetl_bus.consumers.pull import run_pull, run_pull_each
from noetl_bus.publish import Outgoing
from noetl_bus.rpc import Encoded, RpcClient, encoded, handle, serve_rpc
from noetl_bus.topology import ensure_topology
from noetl_contract.hints import PubAck
from noetl_contract.rpc.orchestrator import DEMAND, DemandQuery, PoolDemands
from noetl_testkit.bus import Place, make_place, nats_settings, running
from noetl_testkit.nats import running_nats

AT_ONCE = 256
SINGLE = 500


def show(name: str, count: int, seconds: float, cpu: float) -> None:
    print(f"{name:<52} {count / seconds:>9,.0f}/s   {cpu / count * 1e6:>6.1f} us CPU each")


def show_latency(name: str, samples: list[float]) -> None:
    cuts = statistics.quantiles(samples, n=100)
    print(f"{name:<52} p50 {cuts[49] * 1e3:.3f} ms   p95 {cuts[94] * 1e3:.3f} ms")


async def measured(name: str, count: int, work: Awaitable[None]) -> None:
    started, cpu = perf_counter(), process_time()
    await work
    show(name, count, perf_counter() - started, process_time() - cpu)


async def publish_many(bus: Bus, place: Place, *, run: str, messages: int, body: bytes) -> None:
    for start in range(0, messages, AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, messages))
        acks = await bus.publish_many(
            [Outgoing(place.subject(n), body, f"{run}-{n}") for n in numbers], seconds=30
        )
        assert all(isinstance(ack, PubAck) for ack in acks)


async def publish_with_tasks(bus: Bus, place: Place, *, messages: int, body: bytes) -> None:
    for start in range(0, messages, AT_ONCE):
        await asyncio.gather(
            *(
                bus.publish(place.subject(n), body, message_id=f"t-{n}", seconds=30)
                for n in range(start, start + AT_ONCE)
            )
        )


async def publish_with_the_client(bus: Bus, place: Place, *, messages: int, body: bytes) -> None:
    for start in range(0, messages, AT_ONCE):
        await asyncio.gather(
            *(
                bus.js.publish(
                    place.subject(n), body, timeout=30, headers={"Nats-Msg-Id": f"c-{n}"}
                )
                for n in range(start, start + AT_ONCE)
            )
        )


class Counting:
    """A handler that acknowledges and counts."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = asyncio.Event()
        self.count = 0

    async def batch(self, deliveries: list[Delivery]) -> None:
        ack_all(deliveries)
        self._add(len(deliveries))

    async def each(self, _delivery: Delivery) -> None:
        self._add(1)

    def _add(self, count: int) -> None:
        self.count += count
        if self.count >= self.total:
            self.done.set()


async def consume(bus: Bus, place: Place, counting: Counting, *, permits: int | None) -> None:
    if permits is None:
        loop = run_pull(bus, place.durable, counting.batch)
    else:
        loop = run_pull_each(bus, place.durable, counting.each, permits=permits)
    async with running(loop):
        await counting.done.wait()


async def latency(bus: Bus, place: Place, body: bytes) -> None:
    """One message at a time: publish to a running pull, until the handler has it."""
    arrived = asyncio.Event()

    async def handle(deliveries: list[Delivery]) -> None:
        ack_all(deliveries)
        arrived.set()

    published, handled = [], []
    async with running(run_pull(bus, place.durable, handle)):
        for number in range(SINGLE):
            arrived.clear()
            started = perf_counter()
            await bus.publish(place.subject(), body, message_id=f"l-{number}")
            published.append(perf_counter() - started)
            await arrived.wait()
            handled.append(perf_counter() - started)
    show_latency("publish, one at a time", published)
    show_latency("publish -> handler, one at a time", handled)


async def requests(bus: Bus, *, direct: bool) -> None:
    async def answer(_request: DemandQuery) -> Encoded[PoolDemands]:
        return encoded(DEMAND, {"pools": [{"pool": "shared", "waiting": 1, "running": 1}]})

    way = "directly" if direct else "on FastStream"
    client = RpcClient(bus)
    wanted = DemandQuery(pool="shared")

    async def ask(times: int) -> None:
        for _ in range(times):
            await client.forward(DEMAND, wanted, shard=0, seconds=5)

    handlers = [handle(replace(DEMAND, is_busy=direct), answer)]
    async with serve_rpc(bus, handlers, queue="bench", shard=0):
        await ask(SINGLE)
        samples = []
        for _ in range(SINGLE):
            started = perf_counter()
            await ask(1)
            samples.append(perf_counter() - started)
        show_latency(f"request, one at a time, {way}", samples)
        for at_once in (16, 64):
            many = asyncio.gather(*(ask(4096 // at_once) for _ in range(at_once)))
            await measured(f"requests, {at_once} at once (both ends), {way}", 4096, _done(many))


async def _done(work: Awaitable[object]) -> None:
    await work


async def bench(url: str, *, messages: int, size: int) -> None:
    body = b"{" + b" " * (size - 2) + b"}"
    async with connect(nats_settings(url), name="bench") as bus:

        async def fresh(name: str) -> Place:
            place = make_place(name)
            await ensure_topology(bus, [place.stream], [place.durable])
            return place

        backlog = await fresh("backlog")
        some = messages // AT_ONCE // 4 * AT_ONCE
        await measured(
            f"publish, {AT_ONCE} at once, publish_many",
            messages,
            publish_many(bus, backlog, run="b", messages=messages, body=body),
        )
        variants: list[tuple[str, Callable[..., Awaitable[None]]]] = [
            ("bus.publish in tasks", publish_with_tasks),
            ("nats-py js.publish in tasks", publish_with_the_client),
        ]
        for name, publish in variants:
            place = await fresh(name.split()[0].replace(".", "-"))
            await measured(
                f"publish, {AT_ONCE} at once, {name}",
                some,
                publish(bus, place, messages=some, body=body),
            )
        await measured(
            "pull and ack a backlog, run_pull",
            messages,
            consume(bus, backlog, Counting(messages), permits=None),
        )
        each = await fresh("each")
        await publish_many(bus, each, run="e", messages=messages, body=body)
        await measured(
            "pull and ack a backlog, run_pull_each, 64 permits",
            messages,
            consume(bus, each, Counting(messages), permits=64),
        )
        flow = await fresh("flow")

        async def both() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(consume(bus, flow, Counting(messages), permits=None))
                group.create_task(publish_many(bus, flow, run="f", messages=messages, body=body))

        await measured("publish -> pull -> ack, all in one process", messages, both())
        await latency(bus, await fresh("single"), body)
        await requests(bus, direct=True)
        await requests(bus, direct=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_480)
    parser.add_argument("--size", type=int, default=400)
    options = parser.parse_args()
    print(f"{options.messages:,} messages of {options.size} bytes, {os.cpu_count()} cores")
    with (
        tempfile.TemporaryDirectory() as folder,
        running_nats(Path(folder) / "nats") as server,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(bench(server.url, messages=options.messages, size=options.size))


if __name__ == "__main__":
    main()
