"""Publish outbox rows side by side, and mark many of them with one statement."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import batched, islice
from time import monotonic

from noetl_common import metrics
from noetl_common.bus.broker import Bus
from noetl_common.bus.errors import BusUnavailable
from noetl_common.bus.inbox import Incoming
from noetl_common.bus.publish import Outgoing, PubAck, read_ack
from noetl_common.errors import NoetlError, Permanent
from noetl_common.ids import time_of_id_ms
from noetl_common.logging import get_logger
from noetl_common.pool_watch import PoolWatch
from noetl_common.retry import Pace
from noetl_common.telemetry.carrier import Context
from noetl_contract import message_ids
from noetl_contract.events import commit_body
from noetl_contract.json import JsonObject
from noetl_contract.streams import COMMITS
from noetl_contract.subjects import commit_subject, event_subject, published_row

from noetl_outbox.rows import (
    Row,
    event_body,
    failure_message,
    message_body,
    pool_of,
    read_hint,
    why_unpublishable,
)
from noetl_outbox.settings import Settings
from noetl_outbox.store import Failure, Published, Store
from noetl_outbox.traces import end_spans, headers_of, open_spans

_log = get_logger()
_HEADER_ROOM = 2048
_LAST_MARK_SECONDS = 3.0
_OUTAGE_PAUSE_SECONDS = 5.0
_LONGEST_HINT_BATCH_BYTES = 8 << 20
_COMMITS_READ = 20
_MOST_NAMED = 20
# Between the clocks of an orchestrator and the broker.
_CLOCK_DIFFERENCE_MS = 5000


class Relay:
    """Publish rows from hints at once, and from the table in its sweep (O2)."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        *,
        pools: PoolWatch,
        creation_times: Mapping[str, datetime],
        settings: Settings,
    ) -> None:
        self._bus = bus
        self._store = store
        self._pools = pools
        self._creation_times = creation_times
        self._settings = settings
        self._relayed = settings.relayed_types()
        self._hints: deque[bytes] = deque()
        self._hint_bytes = 0
        self._hinted = asyncio.Event()
        self._due = asyncio.Event()
        self._pace = Pace(settings.outbox_poll_seconds, settings.outbox_idle_poll_seconds)
        self._look_by = float("inf")
        self._acks: list[Published] = []
        self._acked = asyncio.Event()
        self._count = metrics.counter(
            "noetl_outbox_rows_total", "Rows by how they ended and what woke them.", ("by", "end")
        )
        self._dropped = metrics.counter(
            "noetl_outbox_hints_dropped_total", "Hints left to the sweep because too many waited."
        )

    def take_hint(self, incoming: Incoming) -> None:
        """Queue a hint; called by the read loop."""
        # The sweep looks for what has become of these rows.
        self._pace.reset()
        due = monotonic() + self._settings.outbox_grace_seconds
        self._look_by = min(self._look_by, due + self._settings.outbox_poll_seconds)
        if self._hint_bytes + len(incoming.data) > self._settings.outbox_hint_queue_bytes:
            self._dropped.inc()
            return
        self._hints.append(incoming.data)
        self._hint_bytes += len(incoming.data)
        self._hinted.set()

    def take_ack(self, incoming: Incoming) -> None:
        """Note that a message is stored that an orchestrator published; called by the read loop.

        Without a note the sweep publishes it once more, under the same id.
        """
        outbox_id, message_id = published_row(incoming.subject)
        try:
            ack = read_ack(incoming, incoming.subject)
        except NoetlError as error:
            _log.info("published_row_left_to_the_sweep", outbox_id=outbox_id, error=error.message)
            return
        if ack is None:
            return
        published = _published(outbox_id, message_id, ack, self._creation_times)
        created_at = published.stream_created_at
        if published.sequence is not None and (
            # The stream must not be younger than the message: what one of before stored is lost
            # (O5).
            created_at is None
            or time_of_id_ms(outbox_id) - created_at.timestamp() * 1000 <= _CLOCK_DIFFERENCE_MS
        ):
            return
        self._note(published)
        self._count.labels("orchestrator", "ok").inc()

    def wake(self) -> None:
        """Start the next sweep now."""
        self._pace.reset()
        self._due.set()

    async def run_hints(self) -> None:
        """Publish hinted rows until cancelled; several of these loops may run at once."""
        while True:
            await self._hinted.wait()
            rows = self._take_rows()
            if rows:
                await self._publish_hinted(rows)

    async def run_sweep(self, on_progress: Callable[[], None] = lambda: None) -> None:
        """Publish rows that no hint announced, until cancelled.

        While neither hints nor rows come, the pause between two looks grows; a row whose hint was
        lost waits as long as it was quiet before, and for the longest pause at most.
        """
        settings = self._settings
        while True:
            on_progress()
            if not self._bus.is_connected:
                # Short waits: a loop that waits for the broker still reports progress.
                await self._wait_for_more(settings.outbox_poll_seconds)
                continue
            self._look_by = float("inf")
            try:
                rows = await self._store.claim_due_rows(
                    lease_seconds=settings.outbox_lease_seconds, limit=settings.outbox_batch
                )
                await self._publish_claimed(rows)
            except NoetlError as error:
                _log.warning("sweep_failed", error=error.message)
                rows = []
            if len(rows) < settings.outbox_batch:
                await self._wait_for_more(self._pace.after(rows))

    async def run_marks(self) -> None:
        """Record acknowledgements, many in one statement, until cancelled."""
        try:
            while True:
                await self._acked.wait()
                await asyncio.sleep(self._settings.outbox_mark_interval_seconds)
                await self._mark()
        finally:
            # Unmarked rows are only published once more, so this may fail.
            await asyncio.shield(self._last_mark())

    def _take_rows(self) -> list[Row]:
        rows: list[Row] = []
        taken = 0
        while self._hints and len(rows) < self._settings.outbox_hint_rows:
            data = self._hints.popleft()
            self._hint_bytes -= len(data)
            taken += len(data)
            rows += [row for row in read_hint(data) if self._is_ours(row)]
            if taken > _LONGEST_HINT_BATCH_BYTES:
                break
        if not self._hints:
            self._hinted.clear()
        return rows

    def _is_ours(self, row: Row) -> bool:
        return row.kind != "event" or self._settings.outbox_relay_events

    async def _publish_hinted(self, rows: list[Row]) -> None:
        """Publish without asking the database; the sweep finds the rows that fail."""
        complete = [row for row in rows if row.payload is not None]
        named = [row.outbox_id for row in rows if row.payload is None]
        results = await self._publish(complete)
        done = sum(self._note(result) for result in results)
        self._count.labels("hint", "ok").inc(done)
        if done < len(complete):
            self._count.labels("hint", "failed").inc(len(complete) - done)
            left = [
                row
                for row, result in zip(complete, results, strict=True)
                if not isinstance(result, Published)
            ]
            _log.info("hinted_rows_left_to_the_sweep", count=len(left), **_named(left))
        if named:
            try:
                await self._publish_claimed(
                    await self._store.claim_named_rows(
                        named, lease_seconds=self._settings.outbox_lease_seconds
                    )
                )
            except NoetlError as error:
                _log.warning("named_rows_not_read", error=error.message)

    async def _publish_claimed(self, rows: list[Row]) -> None:
        if not rows:
            return
        failures: list[Failure] = []
        unpublishable: list[tuple[Row, str]] = []
        publishable: list[Row] = []
        for row in rows:
            reason = why_unpublishable(row)
            if reason is None:
                publishable.append(row)
            else:
                unpublishable.append((row, reason))
        publishable = await self._with_events(publishable)
        for row, result in zip(publishable, await self._publish(publishable), strict=True):
            if isinstance(result, Published):
                self._note(result)
            elif isinstance(result, Permanent):
                unpublishable.append((row, result.message))
            else:
                failures.append(self._failure(row, result))
        done = len(rows) - len(failures) - len(unpublishable)
        self._count.labels("sweep", "ok").inc(done)
        if failures:
            self._count.labels("sweep", "failed").inc(len(failures))
            failed = {failure.outbox_id for failure in failures}
            named = _named([row for row in rows if row.outbox_id in failed])
            _log.warning(
                "rows_not_published", count=len(failures), error=failures[0].reason, **named
            )
            await self._store.mark_failed(failures)
        await self._mark()
        for row, reason in unpublishable:
            await self._park(row, reason)

    async def _with_events(self, rows: list[Row]) -> list[Row]:
        """Read what commits wrote and outside readers get, a few commits at a time."""
        commits = [row for row in rows if row.kind == "commit"]
        whole: dict[int, Row] = {}
        for some in batched(commits, _COMMITS_READ, strict=False):
            for row in await self._store.load_relayed(some):
                whole[row.outbox_id] = row
        return [whole.get(row.outbox_id, row) for row in rows]

    async def _publish(self, rows: Sequence[Row]) -> list[Published | NoetlError]:
        """Publish rows side by side; return the result of each, in order."""
        # Read before publishing: a stream that is replaced in between is younger than the row then
        # says, so the row looks lost and is published once more; no message is missed (O5).
        created_at = dict(self._creation_times)
        limit = self._bus.largest_message - _HEADER_ROOM
        messages: list[Outgoing] = []
        counts: list[int] = []
        spans = open_spans(rows)
        for row in rows:
            own = self._messages(row, limit, headers_of(row, spans))
            messages += own
            counts.append(len(own))
        acks = iter(
            await self._bus.publish_many(
                messages, seconds=self._settings.outbox_publish_timeout_seconds
            )
        )
        results = [
            _result(row, list(islice(acks, count)), created_at)
            for row, count in zip(rows, counts, strict=True)
        ]
        end_spans(rows, results, spans)
        return results

    def _messages(self, row: Row, limit: int, headers: Context | None) -> list[Outgoing]:
        """Return the messages of a row; the last one's acknowledgement stands for all.

        A commit is told of by positions, and only the events that outside readers want follow. A
        row of a single event is always published.
        """
        match row.kind:
            case "commit":
                first, last = row.payload["first"], row.payload["last"]
                wanted = [
                    event
                    for event in row.payload.get("events", ())
                    if self._relayed is None or event["event_type"] in self._relayed
                ]
                return [
                    self._commit(row.execution_id, first, last, headers),
                    *(self._event(row, event, limit, headers) for event in wanted),
                ]
            case "event":
                position = row.payload["position"]
                return [
                    self._commit(row.execution_id, position, position, headers),
                    self._event(row, row.payload, limit, headers),
                ]
        may_inline = row.kind == "command" and self._pools.may_inline(pool_of(row.subject))
        body = message_body(row, may_inline=may_inline, limit=limit)
        return [Outgoing(row.subject or "", body, row.message_id, headers)]

    def _commit(
        self, execution_id: int, first: int, last: int, headers: Context | None
    ) -> Outgoing:
        return Outgoing(
            commit_subject(execution_id, shard=self._settings.shard_index),
            commit_body(execution_id, first=first, last=last),
            message_ids.commit_id(execution_id, position=last),
            headers,
        )

    def _event(self, row: Row, event: JsonObject, limit: int, headers: Context | None) -> Outgoing:
        """Return the message of an event; a single one has the subject and the id of its row."""
        limit = min(limit, self._settings.outbox_event_max_bytes)
        is_single = row.kind == "event"
        shard = self._settings.shard_index
        return Outgoing(
            (row.subject if is_single else None) or event_subject(row.execution_id, shard=shard),
            event_body(event, limit=limit),
            row.message_id
            if is_single
            else message_ids.event_id(row.execution_id, position=event["position"]),
            headers,
        )

    def _note(self, result: Published | NoetlError) -> bool:
        """Keep an acknowledgement for marking; return whether the result is one."""
        if isinstance(result, Published):
            self._acks.append(result)
            self._acked.set()
            return True
        return False

    def _failure(self, row: Row, error: NoetlError) -> Failure:
        longest = self._settings.outbox_failure_max_seconds
        if isinstance(error, BusUnavailable):
            # Rows should not wait for long once the outage is over.
            longest = min(longest, _OUTAGE_PAUSE_SECONDS)
        pause = min(2.0 ** min(max(row.attempts - 1, 0), 8), longest)
        return Failure(row.outbox_id, error.message, pause)

    async def _park(self, row: Row, reason: str) -> None:
        """Give up a row and raise an alarm; it never blocks others (O4)."""
        self._count.labels("sweep", "parked").inc()
        _log.error(
            "row_parked",
            outbox_id=row.outbox_id,
            kind=row.kind,
            execution_id=row.execution_id,
            reason=reason,
        )
        message = failure_message(row, reason=reason, shard_count=self._settings.shard_count)
        await self._store.park_row(row.outbox_id, reason=reason, message=message)

    async def _mark(self) -> None:
        acks, self._acks = self._acks, []
        self._acked.clear()
        if not acks:
            return
        try:
            await self._store.mark_published(acks)
        except NoetlError as error:
            _log.warning("rows_not_marked", count=len(acks), error=error.message)
            # Marked again until it works; the sweep publishes them again under the same ids.
            self._acks = (acks + self._acks)[-self._settings.outbox_batch * 100 :]
            await asyncio.sleep(self._settings.outbox_poll_seconds)
            self._acked.set()

    async def _last_mark(self) -> None:
        try:
            async with asyncio.timeout(_LAST_MARK_SECONDS):
                if self._acks:
                    await self._store.mark_published(self._acks)
        except (NoetlError, TimeoutError):
            _log.info("rows_left_unmarked", count=len(self._acks))

    async def _wait_for_more(self, seconds: float) -> None:
        """Wait until the next look is due, or somebody wants it."""
        end = monotonic() + seconds
        while (left := min(end, self._look_by) - monotonic()) > 0:
            try:
                # A hint meanwhile brings the look forward.
                async with asyncio.timeout(min(left, self._settings.outbox_poll_seconds)):
                    await self._due.wait()
            except TimeoutError:
                continue
            self._due.clear()
            return


def _named(rows: Sequence[Row]) -> dict[str, list[int]]:
    """Return the executions of rows for a log line, some of many."""
    return {"execution_ids": sorted({row.execution_id for row in rows})[:_MOST_NAMED]}


def _result(
    row: Row, acks: Sequence[PubAck | NoetlError], created_at: Mapping[str, datetime]
) -> Published | NoetlError:
    """Return what became of a row: an error of any of its messages, or the last acknowledgement."""
    *others, last = acks
    for ack in others:
        if not isinstance(ack, PubAck):
            return ack
    if not isinstance(last, PubAck):
        return last
    return _published(row.outbox_id, row.message_id, last, created_at)


def _published(
    outbox_id: int, message_id: str, ack: PubAck, created_at: Mapping[str, datetime]
) -> Published:
    """Return what is kept of an acknowledgement."""
    if ack.stream == COMMITS.name:
        # Nobody has to be told again if that stream is lost: its readers read the log.
        return Published(outbox_id, message_id, None, None)
    return Published(outbox_id, message_id, created_at.get(ack.stream), ack.sequence)
