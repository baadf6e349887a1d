"""Channels of lines to watchers: by message, or over HTTP to an edge, which passes them on.

What can't be sent now is dropped: numbers of lines show it to readers.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from noetl_bus.broker import Bus
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.subjects import output_subject

from noetl_worker.control_plane.edge import Edge, EdgeUnreachable

_MOST_UNSENT_BYTES = 1 << 20
_MOST_WAITING = 64
_POST_SECONDS = 5.0
_SETTLE_SECONDS = 0.5

_log = get_logger()


@dataclass(frozen=True, slots=True)
class OutputPlace:
    """The run that prints, and the edge that its command names."""

    execution_id: int
    event_id: int
    server_url: str


class OutputChannel(Protocol):
    """Passes batches on."""

    def send(self, place: OutputPlace, body: bytes) -> None:
        """Send a batch, or drop it. Never waits."""

    async def settle(self) -> None:
        """Wait for the sent lines, for a moment: the end of a run comes behind its lines."""


class BusOutput:
    """Publishes batches; the connection that takes the outcome keeps the order."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def send(self, place: OutputPlace, body: bytes) -> None:
        """Publish a batch unless much waits to be sent already."""
        if self._bus.nc.pending_data_size < _MOST_UNSENT_BYTES:
            self._bus.send_nowait(output_subject(place.execution_id), body)

    async def settle(self) -> None:
        """Nothing is left behind."""


class EdgeOutput:
    """Posts batches one after the other, for workers that may not publish."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._waiting: deque[tuple[OutputPlace, bytes]] = deque(maxlen=_MOST_WAITING)
        self._posting: asyncio.Task[None] | None = None

    def send(self, place: OutputPlace, body: bytes) -> None:
        """Put a batch behind those that wait; the oldest is dropped when there are many."""
        self._waiting.append((place, body))
        if self._posting is None:
            self._posting = asyncio.create_task(self._post_all())

    async def settle(self) -> None:
        """Wait until nothing waits, but not for long."""
        if self._posting is not None:
            await asyncio.wait({self._posting}, timeout=_SETTLE_SECONDS)

    async def _post_all(self) -> None:
        try:
            while self._waiting:
                await self._post(*self._waiting.popleft())
        finally:
            self._posting = None

    async def _post(self, place: OutputPlace, body: bytes) -> None:
        path = f"/api/commands/{place.event_id}/output"
        try:
            async with asyncio.timeout(_POST_SECONDS):
                status, _ = await self._edge.call("POST", path, body, base=place.server_url or None)
        except (EdgeUnreachable, TimeoutError, NoetlError) as error:
            _log.info("output_not_sent", event_id=place.event_id, error=str(error))
            return
        if status >= 300:
            _log.info("output_not_taken", event_id=place.event_id, status=status)
