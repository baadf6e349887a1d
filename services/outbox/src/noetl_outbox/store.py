"""Statements of the relay on outbox rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from noetl_pg.database import Database
from noetl_pg.database import Row as Record

from noetl_outbox.rows import FailureMessage, Row, logged_event, stored_row
from noetl_outbox.settings import Settings

if TYPE_CHECKING:
    from noetl_contract.events import EventMessage

_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Published:
    """An acknowledgement of a row.

    Attributes:
        stream_created_at: creation time of the stream, or None if unknown.
        sequence: sequence in the stream, or None if the row need not be published again when its
            stream is lost.
    """

    outbox_id: int
    message_id: str
    stream_created_at: datetime | None
    sequence: int | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that could not be published."""

    outbox_id: int
    reason: str
    pause_seconds: float


@dataclass(frozen=True, slots=True)
class StreamState:
    """Bounds of a stream, and the database's time just before the bounds were read."""

    created_at: datetime
    first: int
    last: int
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """Progress of a purge: rows seen and removed, and the position at which the page ended."""

    seen: int = 0
    removed: int = 0
    published_at: datetime = _BEGINNING
    outbox_id: int = 0


class Store:
    """Statements of the relay, one method each; they raise the errors of `Database`."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._db = database.with_statements(__package__)
        self._shard = settings.shard_index
        self._grace = timedelta(seconds=settings.outbox_grace_seconds)
        events = ["event"] if settings.outbox_relay_events else []
        self._kinds = ["command", "message", "commit", *events]
        types = settings.relayed_types()
        self._relayed = None if types is None else sorted(types)

    async def now(self) -> datetime:
        """Return the database's time."""
        moment: datetime = await self._db.fetchval("read_clock")
        return moment

    async def claim_due_rows(self, *, lease_seconds: float, limit: int) -> list[Row]:
        """Claim due rows; no other relay can claim them until the lease ends."""
        records = await self._db.fetch(
            "claim_due_rows",
            self._grace,
            timedelta(seconds=lease_seconds),
            limit,
            self._kinds,
        )
        return [stored_row(record, shard=self._shard) for record in records]

    async def load_relayed(self, rows: Sequence[Row]) -> list[Row]:
        """Return rows of commits with the events that are relayed to outside readers."""
        if self._relayed == []:
            return list(rows)
        records = await self._db.fetch(
            "load_relayed",
            [row.execution_id for row in rows],
            [row.payload["first"] for row in rows],
            [row.payload["last"] for row in rows],
            self._relayed,
        )
        events: dict[int, list[EventMessage]] = {}
        for record in records:
            events.setdefault(record["number"], []).append(logged_event(record))
        return [
            replace(row, payload={**row.payload, "events": events.get(number, [])})
            for number, row in enumerate(rows, start=1)
        ]

    async def mark_published(self, acks: Sequence[Published]) -> None:
        """Record acknowledgements, except of rows that were marked or put back meanwhile.

        A row that need not be published again is deleted immediately.
        """
        await self._db.execute(
            "mark_published",
            [ack.outbox_id for ack in acks],
            [ack.message_id for ack in acks],
            [ack.stream_created_at for ack in acks],
            [ack.sequence for ack in acks],
        )

    async def mark_failed(self, failures: Sequence[Failure]) -> None:
        """Put rows back; each is due again after its pause."""
        await self._db.execute(
            "mark_failed",
            [failure.outbox_id for failure in failures],
            [failure.reason for failure in failures],
            [timedelta(seconds=failure.pause_seconds) for failure in failures],
        )

    async def park_row(
        self, outbox_id: int, *, reason: str, message: FailureMessage | None
    ) -> None:
        """Park a row, and insert the message that fails its execution, if any."""
        subject, message_id, body = message or (None, None, None)
        await self._db.execute("park_row", outbox_id, reason, subject, message_id, body)

    async def return_lost_commands(self, state: StreamState) -> int:
        """Put back unclaimed commands that the stream no longer holds; return their number."""
        return await self._update(
            "return_lost_commands",
            state.created_at,
            state.first,
            state.last,
            state.asked_at,
            self._grace,
        )

    async def return_lost_events(
        self, state: StreamState, *, recent_seconds: float, limit: int
    ) -> int:
        """Put back recent events that the stream no longer holds; return their number."""
        return await self._update(
            "return_lost_events",
            state.created_at,
            state.last,
            state.asked_at,
            timedelta(seconds=recent_seconds),
            self._grace,
            limit,
        )

    async def return_lost_messages(self, state: StreamState) -> int:
        """Put back messages that the ingress no longer holds; return their number."""
        return await self._update(
            "return_lost_messages", state.created_at, state.last, state.asked_at, self._grace
        )

    async def purge_published(
        self,
        *,
        retention_seconds: float,
        message_retention_seconds: float,
        limit: int,
        after: Page,
    ) -> Page:
        """Remove the rows of one page of old rows that are no longer needed."""
        row = await self._db.fetchone(
            "purge_published",
            timedelta(seconds=retention_seconds),
            timedelta(seconds=message_retention_seconds),
            limit,
            after.published_at,
            after.outbox_id,
        )
        return Page(
            seen=row["seen"],
            removed=row["removed"],
            published_at=row["last_published_at"] or after.published_at,
            outbox_id=row["last_outbox_id"] or after.outbox_id,
        )

    async def measure(self) -> Record:
        """Return the numbers of unpublished rows by kind, the oldest one's age, and parked rows."""
        return await self._db.fetchone("measure")

    async def _update(self, name: str, *values: object) -> int:
        outcome: str = await self._db.execute(name, *values)
        return int(outcome.rpartition(" ")[2])
