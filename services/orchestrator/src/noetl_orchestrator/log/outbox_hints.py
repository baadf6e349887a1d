"""What follows the commit of outbox rows: most messages go out at once, the others are hinted.

The relay makes up for whatever is lost here: its sweep finds rows that nobody has published (O2).
"""

from collections.abc import Iterable, Sequence

from noetl_common.bus.broker import Bus
from noetl_common.bus.publish import Outgoing
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_common.pool_watch import PoolWatch
from noetl_contract.subjects import COMMITS_ROOT, outbox_hint_subject, published_subject

from noetl_orchestrator.log.outbox_rows import OutboxRow
from noetl_orchestrator.settings import Settings

_log = get_logger()
# The relay publishes many with one wait for all; here nobody waits.
_MOST_AT_ONCE = 64


class OutboxHints:
    """Hand committed outbox rows over.

    A command that travels inside its notification is published from here, which spares its worker
    the way over the relay, and so is the message of a commit that outside readers get no event of.
    The broker tells the relay that it has stored it. All other rows are sent to the relay; a row
    larger than a hint is left to its sweep.
    """

    def __init__(self, bus: Bus, settings: Settings, pools: PoolWatch) -> None:
        self._bus = bus
        self._pools = pools
        self._shard = settings.shard_index
        self._subject = outbox_hint_subject(settings.shard_index)
        self._max_bytes = settings.hint_max_bytes

    async def send(self, rows: Iterable[OutboxRow]) -> None:
        """Publish or send rows; log errors and leave the rows to the relay."""
        batch: list[bytes] = []
        size = published = 0
        for row in rows:
            if row.handed_for is not None:
                continue  # it goes with an answer
            if (
                row.message is not None
                and published < _MOST_AT_ONCE
                and self._may_publish(row)
                and await self._publish(row, row.message)
            ):
                published += 1
                continue
            hint = row.hint()
            if size + len(hint) > self._max_bytes and batch:
                await self._send(batch)
                batch, size = [], 0
            if len(hint) <= self._max_bytes:
                batch.append(hint)
                size += len(hint) + 1
        if batch:
            await self._send(batch)

    def _may_publish(self, row: OutboxRow) -> bool:
        if row.pool is not None:
            return self._pools.may_inline(row.pool)
        # The rights of the release before don't have it.
        return COMMITS_ROOT not in self._bus.forbidden

    async def _publish(self, row: OutboxRow, body: bytes) -> bool:
        message = Outgoing(row.subject, body, row.message_id)
        stored = published_subject(self._shard, outbox_id=row.outbox_id, message_id=row.message_id)
        try:
            await self._bus.hand_over(message, acknowledge_to=stored)
        except NoetlError as error:
            _log.warning("row_not_published", kind=row.kind, error=error.message)
            return False
        return True

    async def _send(self, rows: Sequence[bytes]) -> None:
        try:
            await self._bus.send(self._subject, b"[" + b",".join(rows) + b"]")
        except NoetlError as error:
            _log.warning("hint_not_sent", error=error.message)
