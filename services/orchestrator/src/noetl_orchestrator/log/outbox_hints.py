"""What follows the commit of outbox rows: most messages go out at once, the others are hinted.

The relay makes up for whatever is lost here: its sweep finds rows that nobody has published (O2).
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

import orjson
from noetl_common.bus.broker import Bus
from noetl_common.bus.publish import Outgoing
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_common.pool_watch import PoolWatch
from noetl_contract.events import commit_body
from noetl_contract.subjects import COMMITS_ROOT, outbox_hint_subject, published_subject

from noetl_orchestrator.log.outbox_rows import OutboxRow, OutboxRows
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.log.stored_rows import HeldCommand
from noetl_orchestrator.settings import Settings

_log = get_logger()
# The relay publishes many with one wait for all; here nobody waits.
_MOST_AT_ONCE = 64
_GATHER_SECONDS = 0.05
_MOST_UNTOLD = 10_000


class OutboxHints:
    """Hand committed outbox rows over.

    A command that travels inside its notification is published from here, which spares its worker
    the way over the relay: the broker tells the relay that it has stored it. Commits that have no
    row are told of in a moment. All other rows are sent to the relay; a row larger than a hint is
    left to its sweep.

    Attributes:
        news: of commits without a row.
    """

    def __init__(self, bus: Bus, settings: Settings, pools: PoolWatch) -> None:
        self._bus = bus
        self._pools = pools
        self.news = CommitNews(bus)
        self._shard = settings.shard_index
        self._subject = outbox_hint_subject(settings.shard_index)
        self._max_bytes = settings.hint_max_bytes

    async def send(self, rows: Iterable[OutboxRow]) -> None:
        """Publish or send rows; log errors and leave the rows to the relay."""
        batch: list[bytes] = []
        size = published = 0
        for row in rows:
            if row.kind == "commit" and self.news.take(row):
                continue
            if (
                row.message is not None
                and row.pool is not None
                and published < _MOST_AT_ONCE
                and self._pools.may_inline(row.pool)
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


class CommitNews:
    """Tell readers of the log of commits that have no outbox row (O6).

    A step may be several commits in quick succession, and who reads the log for one of them reads
    it for all. So an execution's are gathered for a moment and told of in one message; a commit
    with a row tells of those before it. Without a connection they wait for the next one.

    Args:
        bus: the connection.
        gather_seconds: how long they are gathered.
    """

    def __init__(self, bus: Bus, *, gather_seconds: float = _GATHER_SECONDS) -> None:
        self._bus = bus
        self._gather_seconds = gather_seconds
        self._untold: dict[int, tuple[OutboxRow, OutboxRow]] = {}
        self._telling: asyncio.TimerHandle | None = None

    def take(self, row: OutboxRow) -> bool:
        """Take a commit; return False for one that has to be sent to the relay."""
        known = self._untold.get(row.execution_id)
        # The rights of the release before don't have it.
        if row.is_stored or COMMITS_ROOT in self._bus.forbidden:
            self._untold.pop(row.execution_id, None)
            return False
        if known is None and len(self._untold) >= _MOST_UNTOLD:
            return True  # lost, for a while
        self._untold[row.execution_id] = (row if known is None else known[0], row)
        self._tell_later()
        return True

    def _tell_later(self) -> None:
        if self._telling is None:
            loop = asyncio.get_running_loop()
            self._telling = loop.call_later(self._gather_seconds, self._tell_or_wait)

    def _tell_or_wait(self) -> None:
        self._telling = None
        self._tell()
        if self._untold:
            self._tell_later()

    def _tell(self) -> None:
        if not self._bus.is_connected:
            return
        untold, self._untold = self._untold, {}
        for execution_id, (one, other) in untold.items():
            body = other.message or b""
            if one is not other:
                first, last = orjson.loads(one.message or b""), orjson.loads(body)
                body = commit_body(execution_id, first=first["first"], last=last["last"])
            self._bus.send_nowait(other.subject, body)

    def close(self) -> None:
        """Tell of what is left."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        self._tell()


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
        # One may be asked for twice: an outcome came by two ways into the same turn.
        found = {(one.execution_id, one.event_id): one for one in commands}
        rows = {
            key: self._rows.repeated_command_row(one, outbox_id=self._new_id())
            for key, one in found.items()
        }
        put_back = await self._store.notify_again(
            [row.repeated_columns(holds=found[key].holds) for key, row in rows.items()],
            next_look_seconds=self._settings.lease_again_seconds,
            longest_look_seconds=self._settings.pending_retry_max_seconds,
        )
        for command, outbox_id in put_back.items():
            # The stored row keeps its id, and the relay marks it by that id.
            rows[command].outbox_id = outbox_id
        await self._hints.send(rows[command] for command in put_back)
        return len(put_back)
