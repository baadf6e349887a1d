"""The circuit breaker: after failures in a row nothing is started until a probe succeeds."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import httpx
from noetl_common.logging import get_logger
from noetl_contract.subscriptions.document import CircuitSpec

from noetl_worker.subscriptions.metrics import TRANSITIONS

type Probe = Callable[[], Awaitable[bool]]

_log = get_logger()

_DOWNSTREAM = "control_plane"
_PROBE_SECONDS = 5.0


class Circuit:
    """Closed: starts go through. Open: they wait.

    Args:
        spec: when it opens, and how it is probed.
        probe: whether starts are possible again; None lets one message through to see.
    """

    def __init__(self, spec: CircuitSpec, probe: Probe | None) -> None:
        self._spec = spec
        self._probe = probe
        self._failures = 0
        self._closed = asyncio.Event()
        self._closed.set()
        self._opened = asyncio.Event()
        self._probing: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether starts wait."""
        return not self._closed.is_set()

    async def closed(self) -> None:
        """Wait until starts go through."""
        await self._closed.wait()

    async def opened(self) -> None:
        """Wait until it is open."""
        await self._opened.wait()

    def succeeded(self) -> None:
        """Note a start that was answered."""
        self._failures = 0
        if self.is_open:
            self._close()

    def failed(self, reason: str) -> None:
        """Note a start that could not be made."""
        self._failures += 1
        if self.is_open or self._failures < self._spec.trip_after:
            return
        self._closed.clear()
        self._opened.set()
        TRANSITIONS.labels(_DOWNSTREAM, "opened").inc()
        _log.warning("circuit_opened", failures=self._failures, reason=reason[:300])
        self._probing = asyncio.create_task(self._probe_until_good(), name="circuit probe")

    async def stop(self) -> None:
        """End the probing."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.wait({self._probing})

    def _close(self) -> None:
        self._failures = 0
        self._opened.clear()
        self._closed.set()
        TRANSITIONS.labels(_DOWNSTREAM, "closed").inc()
        _log.info("circuit_closed")

    async def _probe_until_good(self) -> None:
        await asyncio.sleep(self._spec.probe_after_ms / 1000)
        while self.is_open:
            TRANSITIONS.labels(_DOWNSTREAM, "half_open").inc()
            if self._probe is None:
                # The next failure opens it at once.
                self._close()
                self._failures = self._spec.trip_after - 1
                return
            if await self._probe():
                self._close()
                return
            await asyncio.sleep(self._spec.probe_interval_ms / 1000)


def probe_of(spec: CircuitSpec, *, server_url: str, nats_url: str) -> Probe | None:
    """Return the probe that a subscription asks for."""
    match spec.probe:
        case "passive":
            return None
        case "http":
            address = spec.address or f"{server_url.rstrip('/')}/api/health"
            return lambda: _answers(address)
        case "tcp":
            return lambda: _connects(spec.address or server_url)
        case "nats":
            return lambda: _connects(spec.address or nats_url)


async def _answers(address: str) -> bool:
    try:
        async with httpx.AsyncClient(timeout=_PROBE_SECONDS, trust_env=False) as client:
            return (await client.get(address)).status_code < 500
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


async def _connects(address: str) -> bool:
    parts = urlsplit(address if "://" in address else f"//{address}")
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 4222)
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            _, writer = await asyncio.open_connection(parts.hostname or "", port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
