"""The message bus, on NATS: connection, publishing, consumers, requests, writes, topology."""

import os
import sys


def _load_nats_without_aiohttp() -> None:
    """Load nats-py without aiohttp, unless a broker is reached by WebSocket.

    It would load aiohttp for that alone, forty modules that most services need for nothing else.
    """
    # Both may be in a file, which is not read here.
    named = [value for name, value in os.environ.items() if "NATS_URL" in name]
    if "aiohttp" in sys.modules or any(not one.startswith(("nats", "tls")) for one in named):
        return
    sys.modules["aiohttp"] = None  # type: ignore[assignment]
    try:
        import nats  # noqa: F401, PLC0415 -- after the line above
    finally:
        del sys.modules["aiohttp"]


_load_nats_without_aiohttp()
