"""The process: it answers before its broker is there, and ends in good order."""

import asyncio
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from noetl.stack.process import free_port
from noetl_bus.broker import connect
from noetl_bus.settings import NatsSettings
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from pydantic import SecretStr

from .conftest import serving_backend


@asynccontextmanager
async def running(
    nats_url: str, *, verify: ssl.SSLContext | None = None, **changes: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
    """Run the module as a process."""
    port = free_port()
    environment = {
        **os.environ,
        "NOETL_NATS_URL": nats_url,
        "NOETL_HTTP_PORT": str(port),
        "NOETL_REQUEST_TRY_SECONDS": str(PATIENCE_SECONDS),
        "NOETL_REQUEST_PATIENCE_SECONDS": str(PATIENCE_SECONDS),
        **changes,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "noetl_api_gateway", env=environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        scheme = "http" if verify is None else "https"
        async with httpx.AsyncClient(
            base_url=f"{scheme}://127.0.0.1:{port}",
            timeout=PATIENCE_SECONDS,
            trust_env=False,
            verify=verify or True,
        ) as client:
            await eventually(lambda: _answers(client), what="the port answers")
            yield process, client
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/health")).status_code == 200
    except httpx.TransportError:
        return False


async def _is_ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/readyz")).status_code == 200


async def test_process_without_a_broker_lives_and_is_not_ready() -> None:
    async with running(f"nats://127.0.0.1:{free_port()}") as (process, client):
        alive = await client.get("/healthz")
        ready = await client.get("/ready")
        health = await client.get("/api/health")
        event = await client.post("/api/events", json={})

        process.send_signal(signal.SIGTERM)
        await process.communicate()

    assert (alive.status_code, ready.status_code) == (200, 503)
    assert (health.status_code, health.json()["nats"]) == (503, "disconnected")
    assert (event.status_code, event.headers["retry-after"]) == (503, "1")
    assert process.returncode == 0


async def test_process_fails_readiness_before_it_closes(nats_url: str) -> None:
    nats = NatsSettings(nats_url=SecretStr(nats_url))
    async with (
        connect(nats, name="fake services") as bus,
        serving_backend(bus),
        running(nats_url, NOETL_DRAIN_DELAY_SECONDS=str(PATIENCE_SECONDS)) as (process, client),
    ):
        await eventually(lambda: _is_ready(client), what="the edge is ready")
        process.send_signal(signal.SIGTERM)

        async def is_draining() -> bool:
            return (await client.get("/ready")).status_code == 503

        await eventually(is_draining, what="readiness fails")
        served = await client.get("/health")
        process.send_signal(signal.SIGTERM)  # it waits no longer
        await process.communicate()

    assert (served.status_code, served.headers["connection"]) == (200, "close")
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_process_finishes_what_it_has_begun(nats_url: str, number: signal.Signals) -> None:
    nats = NatsSettings(nats_url=SecretStr(nats_url))
    async with (
        connect(nats, name="fake services") as bus,
        serving_backend(bus) as backend,
        running(nats_url) as (process, client),
    ):
        await eventually(lambda: _is_ready(client), what="the edge is ready")
        go_on = asyncio.Event()

        async def slow() -> dict[str, int]:
            await go_on.wait()
            return {"execution_id": 1}

        backend.answer("executions.status", lambda _request: slow())
        asking = asyncio.create_task(client.get("/api/executions/1/status"))
        await eventually(lambda: backend.requests("executions.status"), what="it was asked")
        process.send_signal(number)
        go_on.set()

        answer = await asking
        await process.communicate()

    assert answer.json() == {"execution_id": 1}
    assert process.returncode == 0
