"""Publishing of a commit's rows by its process; the relay sweeps what was not confirmed (O2)."""

import asyncio
from collections.abc import Iterable, Sequence

from noetl_bus.broker import Bus
from noetl_bus.commit_messages import CommitMessages, largest_body
from noetl_bus.publish import Outgoing
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_common.telemetry.carrier import read_context
from noetl_contract.hints import CommittedEvents
from noetl_contract.subjects import family, published_subject

from noetl_orchestrator import metrics
from noetl_orchestrator.log.outbox_row import OutboxRow
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.log.stored_rows import HeldCommand
from noetl_orchestrator.publishing.commit_news import CommitNews
from noetl_orchestrator.publishing.confirmations import Confirmations
from noetl_orchestrator.publishing.outbox_rows import OutboxRows
from noetl_orchestrator.publishing.pool_watch import PoolWatch
from noetl_orchestrator.settings import Settings

_log = get_logger()
MOST_MESSAGES = 2048
"""Of one commit that are published at once: about what a turn has the time to decide."""
_MOST_BYTES = 8 << 20
"""Of their bodies."""
_MOST_UNSENT_BYTES = 4 << 20
"""Of what the connection has not sent yet: above twice as much a write would wait for it."""
_PORTION, _PORTION_BYTES = 64, 1 << 20
"""After so much others have their turn in the event loop, and the connection sends."""


class OutboxPublisher:
    """Publish committed rows right after their commit.

    Nobody waits here: the broker tells the relay that it has stored a message, and where several
    count the relay is told once all are stored. Whatever is lost or left leaves an unmarked row,
    which the relay's sweep publishes.

    Attributes:
        news: of commits without a row.
    """

    def __init__(self, bus: Bus, settings: Settings, pools: PoolWatch) -> None:
        self._bus = bus
        self._pools = pools
        self._commits = CommitMessages.of(settings, shard=settings.shard_index)
        self._shard = settings.shard_index
        self._publishes = settings.takes("published-rows")
        self.news = CommitNews(bus, shard=settings.shard_index)
        self._confirmations = Confirmations(bus, self._leave)

    async def publish(self, rows: Iterable[OutboxRow]) -> None:
        """Publish the rows of a commit in their order; leave to the sweep what can't be now."""
        count, room, left = MOST_MESSAGES, _MOST_BYTES, 0
        rest_at = count - _PORTION
        for row in rows:
            if count <= rest_at or self._bus.nc.pending_data_size > _PORTION_BYTES:
                rest_at = count - _PORTION
                await asyncio.sleep(0)
            committed = row.committed
            if committed is not None:
                if not row.is_stored:
                    self.news.take(row.execution_id, first=committed.first, last=committed.last)
                    continue
                self.news.leave(row.execution_id)
            elif row.kind == "event":
                continue  # of publishers outside of our services
            messages = self._messages(row, count=count, room=room)
            if messages is None or not self._may_send(messages):
                left += 1
                continue
            count -= len(messages)
            room -= sum(len(message.body) for message in messages)
            if not await self._hand_over(row, messages):
                left += 1
        if left:
            self._leave(left)

    def _messages(self, row: OutboxRow, *, count: int, room: int) -> list[Outgoing] | None:
        """Return the messages of a row; None if they are more than there is room for."""
        largest = largest_body(self._bus)
        if row.committed is not None:
            return self._of_commit(row, row.committed, count=count, room=room, largest=largest)
        body = row.inlined
        if body is None or not self._pools.may_inline(row.pool) or len(body) > min(room, largest):
            body = (row.payload or "").encode()
        if not count or len(body) > room:
            return None
        return [Outgoing(row.subject, body, row.message_id)]

    def _of_commit(
        self, row: OutboxRow, committed: CommittedEvents, *, count: int, room: int, largest: int
    ) -> list[Outgoing] | None:
        if 1 + len(row.events) > count:
            return None
        messages: list[Outgoing] = []
        for message in self._commits.of_commit(
            row.execution_id,
            first=committed.first,
            last=committed.last,
            events=row.events,
            largest=largest,
            headers=None if committed.trace is None else read_context(committed.trace),
        ):
            room -= len(message.body)
            if room < 0:
                return None
            messages.append(message)
        return messages

    def _may_send(self, messages: Sequence[Outgoing]) -> bool:
        """Return whether there is a connection that keeps up, with the rights for messages."""
        if not self._publishes:
            return False
        forbidden = self._bus.forbidden
        size = sum(len(message.body) for message in messages)
        keeps_up = self._bus.nc.pending_data_size + size <= _MOST_UNSENT_BYTES
        return (
            self._bus.is_connected
            and keeps_up
            and not (
                forbidden and any(family(message.subject) in forbidden for message in messages)
            )
        )

    async def _hand_over(self, row: OutboxRow, messages: Sequence[Outgoing]) -> bool:
        """Publish the messages of a row; return False if one of them can't be."""
        stored = published_subject(self._shard, outbox_id=row.outbox_id, message_id=row.message_id)
        # In front of events stand the positions of their commit, of which nobody has to hear: who
        # reads the log looks there from time to time (O6).
        first = len(messages) > 1
        counting = len(messages) - first
        reply = stored if counting == 1 else self._confirmations.expect(counting, told=stored)
        try:
            for number, message in enumerate(messages):
                await self._bus.publish_without_waiting(
                    message, acknowledge_to=reply if number >= first else ""
                )
        except NoetlError as error:
            _log.warning("row_not_published", kind=row.kind, error=error.message)
            if counting > 1:
                self._confirmations.forget(reply)
            return False
        return True

    def _leave(self, count: int) -> None:
        metrics.ROWS_LEFT.inc(count)
        _log.info("rows_left_to_the_sweep", count=count)


class Repetitions:
    """Put notifications of commands into the outbox once more, and publish them."""

    def __init__(
        self,
        store: Store,
        publisher: OutboxPublisher,
        rows: OutboxRows,
        settings: Settings,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._rows = rows
        self._settings = settings

    async def send(self, commands: Sequence[HeldCommand]) -> int:
        """Have commands published, but those that have changed since; return how many were."""
        if not commands:
            return 0
        # One may be asked for twice: an outcome came by two ways into the same turn.
        found = {(one.execution_id, one.event_id): one for one in commands}
        rows = {key: self._rows.repeated_command_row(one) for key, one in found.items()}
        put_back = await self._store.notify_again(
            [row.repeated_columns(holds=found[key].holds) for key, row in rows.items()],
            next_look_seconds=self._settings.lease_again_seconds,
            longest_look_seconds=self._settings.pending_retry_max_seconds,
        )
        for command, outbox_id in put_back.items():
            # The stored row keeps its id, and the relay marks it by that id.
            rows[command].outbox_id = outbox_id
        await self._publisher.publish(rows[command] for command in put_back)
        return len(put_back)
