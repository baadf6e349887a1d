"""All connections of a port: counts by address, and timeouts."""

import asyncio
from typing import Protocol

from noetl_common import metrics

from noetl_service.intake.limits import IntakeLimits

ENDED = metrics.counter(
    "noetl_http_connections_ended_total",
    "Connections that a limit ended, by the limit",
    ["limit"],
    zeros=(
        "body_seconds",
        "body_silence_seconds",
        "chunk_bytes",
        "connections",
        "connections_per_address",
        "head_bytes",
        "head_fields",
        "head_seconds",
        "rest_bytes",
        "unread_seconds",
    ),
)


class Watched(Protocol):
    """One connection."""

    def check(self, now: float) -> None:
        """End the connection if it took too long."""


class Connections:
    """The connections of one port; all are looked at in turn, so that none needs a timer."""

    def __init__(self, limits: IntakeLimits) -> None:
        self.limits = limits
        self._open: set[Watched] = set()
        self._by_address: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, connection: Watched, address: str) -> str | None:
        """Count a connection; return the name of the limit that it exceeds, else None."""
        held = self._by_address.get(address, 0)
        is_full = len(self._open) >= self.limits.connections
        self._open.add(connection)
        self._by_address[address] = held + 1
        if self._timer is None:
            self._look_later()
        if is_full:
            return "connections"
        return "connections_per_address" if held >= self.limits.connections_per_address else None

    def leave(self, connection: Watched, address: str) -> None:
        """Forget a connection."""
        if connection not in self._open:
            return
        self._open.discard(connection)
        held = self._by_address.pop(address) - 1
        if held:
            self._by_address[address] = held

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self.limits.watch_seconds(), self._look)

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for connection in tuple(self._open):
            connection.check(now)
        if self._open:
            self._look_later()
