"""What follows the commit of outbox rows: most messages go out at once, the others are hinted.

The relay makes up for whatever is lost here: its sweep finds rows that nobody has published (O2).
"""

from collections.abc import Callable, Iterable, Sequence

from noetl_common.bus.broker import Bus
from noetl_common.bus.publish import Outgoing
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_common.pool_watch import PoolWatch
from noetl_contract.subjects import COMMITS_ROOT, outbox_hint_subject, published_subject

from noetl_orchestrator.log.outbox_rows import OutboxRow, OutboxRows
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.log.stored_rows import HeldCommand
from noetl_orchestrator.settings import Settings

_log = get_logger()
# The relay publishes many with one wait for all; here nobody waits.
_MOST_AT_ONCE = 64


class OutboxHints:
    """Hand committed outbox rows over.

    A command that travels inside its notification is published from here, which spares its worker
    the way over the relay: the broker tells the relay that it has stored it. So is the message of
    a commit that outside readers get no event of, which has no row and may be lost. All other rows
    are sent to the relay; a row larger than a hint is left to its sweep.
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
        try:
            if not row.is_stored:
                # Nobody marks a row, so nobody need hear that it is stored.
                await self._bus.send(row.subject, body)
                return True
            message = Outgoing(row.subject, body, row.message_id)
            stored = published_subject(
                self._shard, outbox_id=row.outbox_id, message_id=row.message_id
            )
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


class Repetitions:
    """Put notifications of commands into the outbox once more, and hand them over."""

    def __init__(
        self,
        store: Store,
        hints: OutboxHints,
        rows: OutboxRows,
        *,
        new_id: Callable[[], int],
        settings: Settings,
    ) -> None:
        self._store = store
        self._hints = hints
        self._rows = rows
        self._new_id = new_id
        self._settings = settings

    async def send(self, commands: Sequence[HeldCommand]) -> int:
        """Have commands published, but those that have changed since; return how many were."""
        if not commands:
            return 0
        rows = {
            (one.execution_id, one.event_id): self._rows.repeated_command_row(
                one, outbox_id=self._new_id()
            )
            for one in commands
        }
        put_back = await self._store.notify_again(
            [
                row.repeated_columns(holds=one.holds)
                for one, row in zip(commands, rows.values(), strict=True)
            ],
            next_look_seconds=self._settings.lease_again_seconds,
            longest_look_seconds=self._settings.pending_retry_max_seconds,
        )
        for command, outbox_id in put_back.items():
            # The stored row keeps its id, and the relay marks it by that id.
            rows[command].outbox_id = outbox_id
        await self._hints.send(rows[command] for command in put_back)
        return len(put_back)
