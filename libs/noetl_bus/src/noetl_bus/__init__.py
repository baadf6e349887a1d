"""The message bus on NATS: connection, publishing, consumers, requests, writes and topology."""

import os
import sys


def _load_nats_without_aiohttp() -> None:
    """Load nats-py without aiohttp, unless a broker is reached by WebSocket.

    nats-py uses aiohttp only for WebSocket, but always loads its forty modules.
    """
    # An address may also be in a file, which is not read here; then aiohttp is loaded.
    named = [value for name, value in os.environ.items() if "NATS_URL" in name]
    if "aiohttp" in sys.modules or any(not one.startswith(("nats", "tls")) for one in named):
        return
    sys.modules["aiohttp"] = None  # type: ignore[assignment]
    try:
        import nats  # noqa: F401, PLC0415 -- after the line above
    finally:
        del sys.modules["aiohttp"]


_load_nats_without_aiohttp()
