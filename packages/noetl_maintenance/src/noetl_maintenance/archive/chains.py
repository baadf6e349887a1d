"""Computes the digests of logs again, and compares them with those that are kept."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

import orjson
from noetl_common.crypto.chain import Chain
from noetl_contract.events import EventRow
from noetl_pg.database import Session

_EVENTS_AT_ONCE = 500
_JSON = ("context", "result", "meta", "note")


class Verdict(StrEnum):
    """Result of checking a log against its digest."""

    WHOLE = "whole"
    """All events are there as they were committed."""
    PARTLY = "partly"
    """Events are there up to the digest as they were committed, and more that it doesn't cover."""
    UNKNOWN = "unknown"
    """There is no digest. The positions of the log have no gap."""
    BROKEN = "broken"
    """An event was changed, added, moved or lost."""


@dataclass(slots=True)
class Log:
    """A log while its events are read in their order.

    Attributes:
        position: the last position, from the state row.
        kept: the digest of the state row, with its position; None without one.
        chain: of the events read so far.
        is_torn: a position is missing or twice.
        differs: the digest isn't that of the events.
    """

    execution_id: int
    position: int
    kept: Chain | None
    chain: Chain = field(default_factory=Chain)
    is_torn: bool = False
    differs: bool = False

    def read(self, row: EventRow) -> None:
        """Take the next event."""
        if self.is_torn or row.position > self.position:
            return  # behind the position there may be events that came since it was read
        if row.position != self.chain.position + 1:
            self.is_torn = True
            return
        self.chain.extend([row])
        if self.kept is not None and row.position == self.kept.position:
            self.differs = self.chain.digest != self.kept.digest

    @property
    def verdict(self) -> Verdict:
        """Return the result of the check, once the log's events were read."""
        is_short = self.chain.position != self.position
        if self.is_torn or self.differs or is_short:
            return Verdict.BROKEN
        if self.kept is None:
            return Verdict.UNKNOWN
        return Verdict.WHOLE if self.kept.position == self.position else Verdict.PARTLY


def log_of(
    execution_id: int, position: int, digest_position: int | None, digest: bytes | None
) -> Log:
    """Return a log that is to be read, from the columns of its state row."""
    has_digest = digest is not None and digest_position is not None
    kept = Chain(digest_position or 0, digest or b"") if has_digest else None
    return Log(execution_id, position, kept)


def event_of(values: Iterable[tuple[str, object]]) -> EventRow:
    """Return the event of a row whose JSON columns are texts; moments without a zone are UTC."""
    fields = {
        name: orjson.loads(value) if name in _JSON and isinstance(value, str) else value
        for name, value in values
    }
    moment = fields["created_at"]
    if isinstance(moment, datetime) and moment.tzinfo is None:
        fields["created_at"] = moment.replace(tzinfo=UTC)
    return EventRow(**fields)  # type: ignore[arg-type]  # columns of `log_row` are its fields


async def read_logs(session: Session, logs: Sequence[Log]) -> None:
    """Read the events of executions, in the order of their ids; a page in memory at a time."""
    by_id = {log.execution_id: log for log in logs}
    first, last = logs[0].execution_id, logs[-1].execution_id
    execution_id, position = first, 0
    while True:
        rows = await session.fetch(
            "read_events", first, last, execution_id, position, _EVENTS_AT_ONCE
        )
        for row in rows:
            log = by_id.get(row["execution_id"])
            if log is not None:
                log.read(event_of(row.items()))
        if len(rows) < _EVENTS_AT_ONCE:
            return
        execution_id, position = rows[-1]["execution_id"], rows[-1]["position"]


async def checked_pages(
    session: Session, ids: Sequence[int], *, page: int
) -> AsyncIterator[list[Log]]:
    """Yield the executions of a database, or some of them, with their events read."""
    after = -1
    while True:
        rows = await session.fetch("list_logs", after, ids, page)
        if not rows:
            return
        logs = [log_of(*row.values()) for row in rows]
        await read_logs(session, logs)
        yield logs
        after = logs[-1].execution_id
