"""Mark the rows that orchestrators have published, and publish all other rows (O2)."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import batched, islice
from time import monotonic

import orjson
from noetl_bus.broker import Bus
from noetl_bus.commit_messages import CommitMessages, largest_body
from noetl_bus.errors import BusUnavailable
from noetl_bus.inbox import Incoming
from noetl_bus.publish import Outgoing, read_ack
from noetl_common.errors import NoetlError, Permanent
from noetl_common.ids import time_of_id_ms
from noetl_common.logging import get_logger
from noetl_common.metrics import counter
from noetl_common.retry import Pace
from noetl_common.telemetry.carrier import Context
from noetl_contract.hints import PubAck
from noetl_contract.streams import COMMITS
from noetl_contract.subjects import published_row

from noetl_outbox.rows import Row, failure_message, why_unpublishable
from noetl_outbox.settings import Settings
from noetl_outbox.store import Failure, Published, Store
from noetl_outbox.traces import end_spans, headers_of, open_spans

_log = get_logger()
_LAST_MARK_SECONDS = 3.0
_OUTAGE_PAUSE_SECONDS = 5.0
_COMMITS_READ = 20
_MOST_NAMED = 20
# Largest tolerated difference between the clocks of an orchestrator and the broker.
_CLOCK_DIFFERENCE_MS = 5000
_ROWS = counter(
    "noetl_outbox_rows_total",
    "Rows by publisher (the orchestrator, or the sweep for unconfirmed rows) and result.",
    ("by", "end"),
    zeros=(
        ("orchestrator", "ok"),
        ("orchestrator", "failed"),
        ("sweep", "ok"),
        ("sweep", "failed"),
        ("sweep", "parked"),
    ),
)


class Relay:
    """Marks rows whose messages are stored, and sweeps the table for unpublished rows (O2)."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        *,
        creation_times: Mapping[str, datetime],
        settings: Settings,
    ) -> None:
        self._bus = bus
        self._store = store
        self._creation_times = creation_times
        self._settings = settings
        self._commits = CommitMessages.of(settings, shard=settings.shard_index)
        self._due = asyncio.Event()
        self._pace = Pace(settings.outbox_poll_seconds, settings.outbox_idle_poll_seconds)
        self._sweep_by = float("inf")
        self._acks: list[Published] = []
        self._acked = asyncio.Event()

    def on_ack(self, incoming: Incoming) -> None:
        """Record the broker's acknowledgement of a message that an orchestrator published.

        The connection's read loop calls this. If an acknowledgement is lost, the sweep publishes
        the message again under the same id.
        """
        # Other rows of the same commit may be unpublished, so the sweep runs soon.
        self._pace.reset()
        due = monotonic() + self._settings.outbox_grace_seconds
        self._sweep_by = min(self._sweep_by, due + self._settings.outbox_poll_seconds)
        outbox_id, message_id = published_row(incoming.subject)
        try:
            ack = read_ack(incoming, incoming.subject)
        except NoetlError as error:
            _log.info("publish_rejected", outbox_id=outbox_id, error=error.message)
            _ROWS.labels("orchestrator", "failed").inc()
            return
        if ack is None:
            return
        published = _published(outbox_id, message_id, ack, self._creation_times)
        created_at = published.stream_created_at
        if published.sequence is not None and (
            # A stream that is younger than the message was recreated: messages of the stream's
            # previous incarnation are lost (O5).
            created_at is None
            or time_of_id_ms(outbox_id) - created_at.timestamp() * 1000 <= _CLOCK_DIFFERENCE_MS
        ):
            return
        self._record_ack(published)
        _ROWS.labels("orchestrator", "ok").inc()

    def wake(self) -> None:
        """Start the next sweep immediately."""
        self._pace.reset()
        self._due.set()

    async def run_sweep(self, on_progress: Callable[[], None] = lambda: None) -> None:
        """Publish rows without an acknowledgement, until cancelled.

        While neither acknowledgements nor rows arrive, the pause between two sweeps grows up to
        the idle interval. A row that its orchestrator could not publish waits at most that long.
        """
        settings = self._settings
        while True:
            on_progress()
            # Reset even while disconnected: a sweep that stays due would make this loop spin
            # without yielding to other tasks.
            self._sweep_by = float("inf")
            if not self._bus.is_connected:
                # The waits are short so that this loop keeps reporting progress.
                await self._wait_for_more(settings.outbox_poll_seconds)
                continue
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
            # A failure is harmless: unmarked rows are published again under the same ids.
            await asyncio.shield(self._last_mark())

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
                self._record_ack(result)
            elif isinstance(result, Permanent):
                unpublishable.append((row, result.message))
            else:
                failures.append(self._failure(row, result))
        done = len(rows) - len(failures) - len(unpublishable)
        _ROWS.labels("sweep", "ok").inc(done)
        if failures:
            _ROWS.labels("sweep", "failed").inc(len(failures))
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
        """Load the relayed events of commits, a few commits at a time."""
        commits = [row for row in rows if row.kind == "commit"]
        loaded: dict[int, Row] = {}
        for batch in batched(commits, _COMMITS_READ, strict=False):
            for row in await self._store.load_relayed(batch):
                loaded[row.outbox_id] = row
        return [loaded.get(row.outbox_id, row) for row in rows]

    async def _publish(self, rows: Sequence[Row]) -> list[Published | NoetlError]:
        """Publish rows concurrently; return the result of each, in order."""
        # The creation times are read before publishing. If a stream is recreated in between, the
        # row records the older time, counts as lost and is published again (O5).
        created_at = dict(self._creation_times)
        messages: list[Outgoing] = []
        counts: list[int] = []
        spans = open_spans(rows)
        for row in rows:
            row_messages = self._messages(row, headers_of(row, spans))
            messages += row_messages
            counts.append(len(row_messages))
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

    def _messages(self, row: Row, headers: Context | None) -> list[Outgoing]:
        """Return the messages of a row; the acknowledgement of the last one stands for the row.

        A row of a single event is always published, even if its type is not relayed.
        """
        payload, largest = row.payload, largest_body(self._bus)
        match row.kind:
            case "commit":
                return list(
                    self._commits.of_commit(
                        row.execution_id,
                        first=payload["first"],
                        last=payload["last"],
                        events=payload.get("events", ()),
                        largest=largest,
                        headers=headers,
                    )
                )
            case "event":
                at = payload["position"]
                (positions,) = self._commits.of_commit(
                    row.execution_id, first=at, last=at, events=(), largest=largest, headers=headers
                )
                event = self._commits.of_event(
                    row.execution_id,
                    payload,
                    largest=largest,
                    headers=headers,
                    subject=row.subject,
                    message_id=row.message_id,
                )
                return [positions, event]
        return [Outgoing(row.subject or "", orjson.dumps(payload), row.message_id, headers)]

    def _record_ack(self, published: Published) -> None:
        """Queue an acknowledgement for the next mark."""
        self._acks.append(published)
        self._acked.set()

    def _failure(self, row: Row, error: NoetlError) -> Failure:
        longest = self._settings.outbox_failure_max_seconds
        if isinstance(error, BusUnavailable):
            # After the outage, rows should be published soon.
            longest = min(longest, _OUTAGE_PAUSE_SECONDS)
        pause = min(2.0 ** min(max(row.attempts - 1, 0), 8), longest)
        return Failure(row.outbox_id, error.message, pause)

    async def _park(self, row: Row, reason: str) -> None:
        """Park a row that can't be published, so that it never blocks other rows (O4)."""
        _ROWS.labels("sweep", "parked").inc()
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
            # Retried until it succeeds. Acknowledgements beyond the bound are dropped; the sweep
            # publishes their rows again under the same ids.
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
        """Wait until the next sweep is due, or until `wake` is called."""
        end = monotonic() + seconds
        while (left := min(end, self._sweep_by) - monotonic()) > 0:
            try:
                # An acknowledgement that arrives meanwhile brings the sweep forward.
                async with asyncio.timeout(min(left, self._settings.outbox_poll_seconds)):
                    await self._due.wait()
            except TimeoutError:
                continue
            self._due.clear()
            return


def _named(rows: Sequence[Row]) -> dict[str, list[int]]:
    """Return the execution ids of rows for a log line, up to a bound."""
    return {"execution_ids": sorted({row.execution_id for row in rows})[:_MOST_NAMED]}


def _result(
    row: Row, acks: Sequence[PubAck | NoetlError], created_at: Mapping[str, datetime]
) -> Published | NoetlError:
    """Return the result of a row: the first error of its messages, or the last acknowledgement."""
    *earlier, last = acks
    for ack in earlier:
        if not isinstance(ack, PubAck):
            return ack
    if not isinstance(last, PubAck):
        return last
    return _published(row.outbox_id, row.message_id, last, created_at)


def _published(
    outbox_id: int, message_id: str, ack: PubAck, created_at: Mapping[str, datetime]
) -> Published:
    """Return the part of an acknowledgement that is stored with a row."""
    if ack.stream == COMMITS.name:
        # If this stream is lost, nothing is published again: readers read the log instead.
        return Published(outbox_id, message_id, None, None)
    return Published(outbox_id, message_id, created_at.get(ack.stream), ack.sequence)
