"""The floor: the same servers without an engine, one commit, publish and consume a step."""

import asyncio
import json
import statistics
import time
from typing import NamedTuple

import asyncpg
import nats
from nats.js.api import ConsumerConfig, StorageType, StreamConfig

_STREAM = "bench"
_BODY = json.dumps({"text": "x" * 500})


class Floor(NamedTuple):
    """Milliseconds of one step as a median, and steps a second."""

    ms: float
    rate: float


async def measure(dsn: str, nats_url: str, *, at_once: int, rounds: int = 50) -> Floor:
    """Measure chains of commit, publish, consume and acknowledge.

    Args:
        at_once: chains side by side.
        rounds: steps of each chain.
    """
    size = min(at_once, 64)
    pool = await asyncpg.create_pool(dsn, min_size=size, max_size=size)
    connection = await nats.connect(nats_url)
    js = connection.jetstream()
    await js.add_stream(
        StreamConfig(name=_STREAM, subjects=[f"{_STREAM}.>"], storage=StorageType.FILE)
    )
    await pool.execute("CREATE TABLE IF NOT EXISTS bench_log (id BIGSERIAL, body JSONB)")
    consumers = [
        await js.pull_subscribe(
            f"{_STREAM}.{number}", durable=f"b{number}", stream=_STREAM, config=ConsumerConfig()
        )
        for number in range(at_once)
    ]
    times: list[float] = []

    async def chain(number: int) -> None:
        for _ in range(rounds):
            began = time.perf_counter()
            await pool.execute("INSERT INTO bench_log (body) VALUES ($1)", _BODY)
            await js.publish(f"{_STREAM}.{number}", _BODY.encode())
            (message,) = await consumers[number].fetch(1, timeout=30)
            await message.ack()
            times.append((time.perf_counter() - began) * 1000)

    try:
        began = time.perf_counter()
        await asyncio.gather(*(chain(number) for number in range(at_once)))
        rate = at_once * rounds / (time.perf_counter() - began)
    finally:
        await js.delete_stream(_STREAM)
        await pool.execute("DROP TABLE bench_log")
        await pool.close()
        await connection.close()
    return Floor(statistics.median(times), rate)
