"""Partitions of the log: created ahead, dropped when they are no longer needed (S3)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from noetl_common.errors import Conflict, NoetlError
from noetl_common.ids import EPOCH_MS
from noetl_common.logging import get_logger
from noetl_common.metrics import gauge
from noetl_common.process.measures import measured_by, not_measured
from noetl_contract.rpc.orchestrator import LogPurged, LogPurgeRequest
from noetl_pg.database import Database, Row, Session

_log = get_logger()
PARENTS = ("event", "command")
_TIME_SHIFT = 22
_LOWEST = -(1 << 63)
_BOUND = re.compile(r"FROM \((MINVALUE|'?-?\d+'?)\) TO \((MAXVALUE|'?-?\d+'?)\)")
_PAGE = 1000
_MAX_COUNTED = 1_000_000
_MEASUREMENT = "partitions"
_LONGEST_DAYS = 365 * 60


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition of executions with ``lower`` <= id < ``upper``."""

    parent: str
    name: str
    lower: int
    upper: int


def first_id_of(moment: datetime) -> int:
    """Return the smallest id that generators create at a moment."""
    return (int(moment.timestamp() * 1000) - EPOCH_MS) << _TIME_SHIFT


def next_halves(after: int, *, until: datetime) -> list[tuple[str, int, int]]:
    """Return name and bounds of the half years from an id up to and including a moment."""
    moment = datetime.fromtimestamp(((after >> _TIME_SHIFT) + EPOCH_MS) / 1000, UTC)
    found = []
    while moment <= until:
        half = 1 if moment.month < 7 else 2
        following = datetime(moment.year + half - 1, 7 if half == 1 else 1, 1, tzinfo=UTC)
        found.append((f"{moment.year}_h{half}", first_id_of(moment), first_id_of(following)))
        moment = following
    return found


class Retention:
    """Create and drop partitions, and delete old commands.

    Args:
        archived_only: drop only what an archive has as it is.
    """

    def __init__(self, database: Database, *, archived_only: bool = False) -> None:
        self._archived_only = archived_only
        self._db = database.with_statements(__package__, "retention.sql")

    async def read_clock(self) -> datetime:
        """Return the database's time."""
        now: datetime = await self._db.fetchval("read_clock")
        return now

    async def keep_partitions(self, *, ahead_days: int) -> None:
        """Create partitions ahead and look at the default partition.

        Rows of their time that lie in the default partition are moved into them.
        """
        try:
            now = await self.read_clock()
            added = await self.add_partitions(until=now + timedelta(days=ahead_days))
            if added:
                _log.info("partitions_added", names=added)
        finally:
            await self._measure_default()

    async def _measure_default(self) -> None:
        measured_by(_MEASUREMENT)
        strays = gauge(
            "noetl_event_default_rows",
            "Rows of the log that are outside of all its partitions, up to a million.",
        )
        try:
            count = await self.count_default(up_to=_MAX_COUNTED)
        except NoetlError as error:
            not_measured(_MEASUREMENT, strays)
            _log.warning("rows_outside_of_partitions_unknown", error=error.message)
            return
        strays.set(count)
        if count:
            _log.warning("rows_outside_of_partitions", count=count)

    async def purge(self, request: LogPurgeRequest, *, commands_at_once: int) -> LogPurged:
        """Delete rows older than the retention windows; a window of 0 keeps all."""
        now = await self.read_clock()
        commands, dropped = 0, []
        days = min(request.command_retention_days, _LONGEST_DAYS)
        if days > 0:
            commands = await self.delete_commands(
                ended_before=now - timedelta(days=days), limit=commands_at_once
            )
        days = min(request.event_retention_days, _LONGEST_DAYS)
        if days > 0:
            dropped = await self.drop_partitions(ended_before=now - timedelta(days=days))
            if dropped:
                _log.info("partitions_dropped", names=dropped)
        return LogPurged(commands_purged=commands, event_partitions_dropped=dropped)

    async def list_partitions(self) -> list[Partition]:
        """Return the partitions that have an upper bound, in the order of their ids."""
        rows = await self._db.fetch("list_partitions")
        return _partitions(rows)

    async def add_partitions(self, *, until: datetime) -> list[str]:
        """Create the partitions missing up to a moment; return their names.

        Raises:
            DataConflict: the log is locked; try later.
            DataRejected: rows of that time come into the default partition meanwhile.
        """
        added: list[str] = []
        async with self._db.acquire() as session:
            for parent in PARENTS:
                async with session.transaction():
                    added += await self._add(session, parent, until)
        return added

    async def drop_partitions(self, *, ended_before: datetime) -> list[str]:
        """Drop partitions whose executions all ended before a moment; return their names.

        Other rows of these executions go first, a page at a time, because they don't change any
        more; commands go with the log. A locked log is left for the next purge.
        """
        dropped = []
        limit = first_id_of(ended_before)
        partitions = await self.list_partitions()
        for log in (one for one in partitions if one.parent == "event" and one.upper <= limit):
            is_needed = await self._db.fetchval(
                "is_needed", log.lower, log.upper, ended_before, self._archived_only
            )
            if is_needed:
                continue
            await self._delete_rows(log)
            inside = [
                one.name
                for one in partitions
                if one.parent == "command" and log.lower <= one.lower and one.upper <= log.upper
            ]
            try:
                await self._drop([log.name, *inside])
            except Conflict as error:
                # A long reader holds the log; the next purge drops the partition.
                _log.warning("partition_not_dropped", name=log.name, error=error.message)
                continue
            dropped.append(log.name)
        return dropped

    async def delete_commands(self, *, ended_before: datetime, limit: int) -> int:
        """Delete at most ``limit`` commands that ended before; return their number."""
        removed = 0
        while removed < limit:
            page = min(_PAGE, limit - removed)
            count: int = await self._db.fetchval("delete_commands", ended_before, page)
            removed += count
            if count < page:
                break
        return removed

    async def count_default(self, *, up_to: int) -> int:
        """Count rows outside all partitions, at most ``up_to``."""
        count: int = await self._db.fetchval("count_default", up_to)
        return count

    async def _add(self, session: Session, parent: str, until: datetime) -> list[str]:
        if not await session.fetchval("try_lock"):
            return []
        await session.execute("limit_lock_wait")
        rows = await session.fetch("list_partitions")
        bounds = [one.upper for one in _partitions(rows) if one.parent == parent]
        if not bounds:
            return []
        added = []
        for name, lower, upper in next_halves(max(bounds), until=until):
            full = f"{parent}_{name}"
            statements = await session.fetchval("statements_to_add", parent, full, lower, upper)
            for statement in statements:
                await session.execute_text(statement)
            added.append(full)
        return added

    async def _drop(self, names: Sequence[str]) -> None:
        async with self._db.transaction() as session:
            await session.execute("limit_lock_wait")
            for name in names:
                statement = await session.fetchval("statement_to_drop", name)
                await session.execute_text(statement)

    async def _delete_rows(self, log: Partition) -> None:
        while True:
            count = await self._db.fetchval("delete_executions", log.lower, log.upper, _PAGE)
            if count < _PAGE:
                break
        await self._db.execute("delete_leftovers", log.lower, log.upper)


def _partitions(rows: Sequence[Row]) -> list[Partition]:
    found = []
    for row in rows:
        match = _BOUND.search(row["bound"])
        if match is None or match[2] == "MAXVALUE":
            continue
        lower = _LOWEST if match[1] == "MINVALUE" else int(match[1].strip("'"))
        found.append(Partition(row["parent"], row["name"], lower, int(match[2].strip("'"))))
    return sorted(found, key=lambda one: (one.parent, one.lower))
