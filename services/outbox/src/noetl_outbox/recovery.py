"""Publish again the rows that a lost or shortened stream no longer holds (O5)."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from time import monotonic

from noetl_bus.broker import Bus
from noetl_bus.jetstream import StreamInfo, stream_info
from noetl_common import metrics
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.streams import COMMANDS, EVENTS, INGRESS, STREAMS

from noetl_outbox.settings import Settings
from noetl_outbox.store import Store, StreamState

_log = get_logger()
_MOST_EVENTS = 10_000


class Recovery:
    """Compare streams with the rows that were published to them.

    Args:
        creation_times: filled with each stream's creation time as last read; the relay reads it.
        wake_sweep: is called after rows were put back.
    """

    def __init__(
        self,
        bus: Bus,
        store: Store,
        *,
        creation_times: dict[str, datetime],
        wake_sweep: Callable[[], None],
        settings: Settings,
    ) -> None:
        self._bus = bus
        self._store = store
        self._creation_times = creation_times
        self._wake_sweep = wake_sweep
        self._settings = settings
        self._compared: dict[str, StreamInfo] = {}
        self._expiry_checked_at = 0.0
        self._is_requested = asyncio.Event()
        self._returned = metrics.counter(
            "noetl_outbox_returned_total",
            "Published rows that their stream had lost.",
            ("stream",),
            zeros=[stream.name for stream in STREAMS],
        )

    async def on_stream_recreated(self, name: str) -> None:
        """Request a comparison, because the topology watch has recreated a stream."""
        _log.info("stream_recreated", stream=name)
        self._is_requested.set()

    async def run(self) -> None:
        """Compare every interval, after a reconnect and when a stream was recreated."""
        stop = self._bus.on_reconnect(self._on_reconnect)
        try:
            while True:
                await self._bus.wait_connected()
                try:
                    await self.compare_streams()
                except NoetlError as error:
                    _log.warning("recovery_failed", error=error.message)
                try:
                    async with asyncio.timeout(self._settings.outbox_recovery_interval_seconds):
                        await self._is_requested.wait()
                except TimeoutError:
                    continue
                self._is_requested.clear()
        finally:
            stop()

    async def compare_streams(self) -> None:
        """Compare each stream once, put lost rows back, and wake the sweep if there were any."""
        now = monotonic()
        is_due = now - self._expiry_checked_at >= self._settings.outbox_expiry_interval_seconds
        returned = 0
        for name in (COMMANDS.name, INGRESS.name, EVENTS.name):
            returned += await self._compare(name, checks_expiry=is_due)
        if is_due:
            self._expiry_checked_at = now
        if returned:
            self._wake_sweep()

    async def _compare(self, name: str, *, checks_expiry: bool) -> int:
        """Return the number of rows that were put back because the stream has lost them."""
        stream = await stream_info(self._bus, name)
        if stream is None:
            return 0
        self._creation_times[name] = stream.created_at
        before = self._compared.get(name)
        has_lost = (
            before is None
            or stream.created_at != before.created_at
            or stream.last_sequence < before.last_sequence
        )
        returned = 0
        if has_lost or (checks_expiry and name == COMMANDS.name):
            # The clock is read before the stream: a row that is published in between may have a
            # sequence beyond the stream's last one without being lost.
            asked_at = await self._store.now()
            stream = await stream_info(self._bus, name)
            if stream is None:
                return 0
            self._creation_times[name] = stream.created_at
            state = StreamState(
                stream.created_at, stream.first_sequence, stream.last_sequence, asked_at
            )
            returned = await self._return_lost(name, state)
        # Recorded only now, so that after a failure the next comparison covers the same loss.
        self._compared[name] = stream
        if returned:
            self._returned.labels(name).inc(returned)
            _log.warning("lost_rows_returned", stream=name, count=returned)
        return returned

    async def _return_lost(self, name: str, state: StreamState) -> int:
        if name == COMMANDS.name:
            return await self._store.return_lost_commands(state)
        if name == INGRESS.name:
            return await self._store.return_lost_messages(state)
        return await self._store.return_lost_events(
            state,
            recent_seconds=self._settings.outbox_event_republish_seconds,
            limit=_MOST_EVENTS,
        )

    async def _on_reconnect(self) -> None:
        self._is_requested.set()
