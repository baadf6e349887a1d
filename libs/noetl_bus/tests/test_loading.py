"""Costs of importing the bus."""

import subprocess
import sys

import pytest

_LOADED = """
import sys, noetl_bus.broker
from nats.aio import transport
print("aiohttp" in sys.modules, transport.aiohttp is None)
import aiohttp
"""


@pytest.mark.parametrize(
    ("url", "said"),
    [("nats://broker:4222", "False True"), ("wss://broker:443", "True False")],
)
def test_aiohttp_is_loaded_for_brokers_behind_web_sockets_only(url: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOADED],
        env={"NOETL_NATS_URL": url},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == said
