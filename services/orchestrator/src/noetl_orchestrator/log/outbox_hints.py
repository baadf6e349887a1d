"""Hints to the relay: the committed outbox rows (O2). The sweep makes up for a lost hint."""

from collections.abc import Iterable, Sequence

from noetl_common.bus.broker import Bus
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.subjects import outbox_hint_subject

from noetl_orchestrator.settings import Settings

_log = get_logger()


class OutboxHints:
    """Send committed outbox rows to the relay; a row larger than a hint is left to the sweep."""

    def __init__(self, bus: Bus, settings: Settings) -> None:
        self._bus = bus
        self._subject = outbox_hint_subject(settings.shard_index)
        self._max_bytes = settings.hint_max_bytes

    async def send(self, rows: Iterable[bytes]) -> None:
        """Send encoded rows; log errors and leave the rows to the sweep."""
        batch: list[bytes] = []
        size = 0
        for row in rows:
            if size + len(row) > self._max_bytes and batch:
                await self._send(batch)
                batch, size = [], 0
            if len(row) <= self._max_bytes:
                batch.append(row)
                size += len(row) + 1
        if batch:
            await self._send(batch)

    async def _send(self, rows: Sequence[bytes]) -> None:
        try:
            await self._bus.send(self._subject, b"[" + b",".join(rows) + b"]")
        except NoetlError as error:
            _log.warning("hint_not_sent", error=error.message)
