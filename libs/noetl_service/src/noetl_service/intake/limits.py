"""Limits of one HTTP port, and its connections with their timeouts."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from noetl_common import metrics

ENDED = metrics.counter(
    "noetl_http_connections_ended_total",
    "Connections that were closed because they exceeded a limit, by the limit",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeLimits:
    """Limits of one connection and of one address; times in seconds, sizes in bytes.

    Attributes:
        head_bytes: size of request line and header fields together, and of the framing of a chunked
            body.
        head_fields: number of header fields of a request.
        head_seconds: time from the first byte of a head to its last. A new connection has the same
            time for the handshake of TLS and again until its first request.
        chunks: number of chunks of a body above which their average size is checked.
        chunk_bytes: smallest average size of these chunks.
        rest_bytes: size of the body that may still arrive, and is discarded, after an early answer.
        rest_seconds: time for these bytes to arrive before the connection is closed.
        body_silence_seconds: longest time without a byte of an incomplete body.
        body_seconds: time from the end of the head to the end of the body.
        unread_seconds: time in which a client has to read ``unread_bytes`` of a pending answer.
        unread_bytes: bytes that a client has to read in this time.
        idle_seconds: longest time between two requests of a connection.
        pipelined: number of requests that a client may send before it has their answers.
        connections: number of connections of all clients.
        connections_per_address: number of connections of one address.
    """

    head_bytes: int = 64 << 10
    head_fields: int = 200
    head_seconds: float = 10.0
    chunks: int = 1000
    chunk_bytes: int = 256
    rest_bytes: int = 1 << 20
    rest_seconds: float = 2.0
    body_silence_seconds: float = 30.0
    body_seconds: float = 300.0
    unread_seconds: float = 30.0
    unread_bytes: int = 16 << 10
    idle_seconds: float = 75.0
    pipelined: int = 32
    connections: int = 1000
    connections_per_address: int = 200

    def watch_seconds(self) -> float:
        """Return the interval of the checks of timeouts, in seconds."""
        times = (self.head_seconds, self.body_silence_seconds, self.unread_seconds)
        return min(1.0, *(one / 4 for one in times))


class Watched(Protocol):
    """A connection with timeouts."""

    def check(self, now: float) -> None:
        """Close the connection if it exceeds a timeout."""


class Connections:
    """The connections of one port; one timer checks the timeouts of all of them."""

    def __init__(self, limits: IntakeLimits) -> None:
        self.limits = limits
        self._open: set[Watched] = set()
        self._by_address: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, connection: Watched, address: str) -> str | None:
        """Add a connection; return the name of the limit that it exceeds, or None."""
        held = self._by_address.get(address, 0)
        is_full = len(self._open) >= self.limits.connections
        self._open.add(connection)
        self._by_address[address] = held + 1
        if self._timer is None:
            self._schedule_check()
        if is_full:
            return "connections"
        return "connections_per_address" if held >= self.limits.connections_per_address else None

    def leave(self, connection: Watched, address: str) -> None:
        """Remove a connection."""
        if connection not in self._open:
            return
        self._open.discard(connection)
        held = self._by_address.pop(address) - 1
        if held:
            self._by_address[address] = held

    def _schedule_check(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self.limits.watch_seconds(), self._check_all)

    def _check_all(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for connection in tuple(self._open):
            connection.check(now)
        if self._open:
            self._schedule_check()
