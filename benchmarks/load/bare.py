"""Speed of the parts below the edge by themselves: a trivial route, a publish, a commit."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import asyncpg
import httpx
import nats
import uvicorn
from litestar import Litestar, Request, Response, post
from nats.js.api import StorageType, StreamConfig
from noetl.stack.process import free_port
from noetl_bus.broker import Bus, connect
from noetl_bus.settings import NatsSettings
from noetl_testkit.waiting import wait_until


@post("/", status_code=200)
async def echo(request: Request) -> Response:  # type: ignore[type-arg]
    """Read a body, and answer."""
    await request.body()
    return Response(b'{"status":"ok"}', media_type="application/json")


@contextmanager
def route() -> Iterator[str]:
    """Serve the trivial route in a process of its own; give its address."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "load.bare", str(port)])
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(url), what="the bare route")
        yield url
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.post(url, content=b"{}").status_code == 200
    except httpx.HTTPError:
        return False


async def publish_rate(nats_url: str, *, at_once: int, count: int) -> tuple[float, float]:
    """Return milliseconds of one acknowledged publish to a file stream, and how many a second."""
    raw = await nats.connect(nats_url)
    stream = StreamConfig(name="bare", subjects=["bare.>"], storage=StorageType.FILE)
    await raw.jetstream().add_stream(stream)
    try:
        async with connect(NatsSettings(nats_url=nats_url), name="bare") as bus:
            return await _pace(lambda: _publish(bus), at_once=at_once, count=count)
    finally:
        await raw.jetstream().delete_stream("bare")
        await raw.close()


async def _publish(bus: Bus) -> None:
    await bus.publish("bare.one", b"x" * 500, message_id=None)


async def commit_rate(dsn: str, *, at_once: int, count: int) -> tuple[float, float]:
    """Return milliseconds of one commit of one row, and how many a second."""
    pool = await asyncpg.create_pool(dsn, min_size=at_once, max_size=at_once)
    await pool.execute("CREATE TABLE IF NOT EXISTS bare_log (id BIGSERIAL, body TEXT)")

    async def commit() -> None:
        await pool.execute("INSERT INTO bare_log (body) VALUES ($1)", "x" * 500)

    try:
        return await _pace(commit, at_once=at_once, count=count)
    finally:
        await pool.execute("DROP TABLE bare_log")
        await pool.close()


async def _pace(
    act: Callable[[], Awaitable[None]], *, at_once: int, count: int
) -> tuple[float, float]:
    began = time.perf_counter()
    for _ in range(100):
        await act()
    alone = (time.perf_counter() - began) * 10
    numbers = iter(range(count))

    async def many() -> None:
        for _ in numbers:
            await act()

    began = time.perf_counter()
    await asyncio.gather(*(many() for _ in range(at_once)))
    return alone, count / (time.perf_counter() - began)


if __name__ == "__main__":
    uvicorn.run(
        Litestar([echo]),
        port=int(sys.argv[1]),
        log_level="warning",
        access_log=False,
        loop="uvloop",
    )
