"""No client of a test gives up because the machine is busy."""

import asyncio
import time

import httpx
import nats
from noetl.stack.servers.nats_probe import NatsProbe
from noetl_testkit.plugin import LOST_SECONDS, use_patient_clients
from noetl_testkit.waiting import PATIENCE_SECONDS


def test_a_client_that_names_no_time_waits_as_long_as_its_test() -> None:
    with httpx.Client() as client:
        assert client.timeout == httpx.Timeout(PATIENCE_SECONDS)
    assert httpx.AsyncClient().timeout == httpx.Timeout(PATIENCE_SECONDS)


async def test_so_does_jetstream(nats_url: str) -> None:
    async with await nats.connect(nats_url) as client:
        assert client.options["connect_timeout"] == PATIENCE_SECONDS
        assert client.jetstream()._timeout == LOST_SECONDS


def test_a_time_that_is_named_stays(nats_url: str) -> None:
    use_patient_clients()  # a second time changes nothing

    named = PATIENCE_SECONDS / 2
    probing = NatsProbe(nats_url, timeout_seconds=named)
    with httpx.Client(timeout=named) as client, probing as probe:
        assert client.timeout == httpx.Timeout(named)
        assert probe._socket.gettimeout() == named
        assert probe.request("$JS.API.INFO")["type"].endswith("account_info_response")


async def test_a_server_that_is_slow_is_waited_for() -> None:
    """A probe with the product's own time would be gone after 2 s."""
    greeted = time.monotonic()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2.5)
        writer.write(b'INFO {"server_name":"slow"}\r\nPONG\r\n')
        await writer.drain()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]

        def ask() -> str:
            with NatsProbe(f"nats://127.0.0.1:{port}") as probe:
                return str(probe.info["server_name"])

        assert await asyncio.to_thread(ask) == "slow"
    assert time.monotonic() - greeted > 2
