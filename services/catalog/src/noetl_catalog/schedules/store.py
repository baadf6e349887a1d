"""Rows of schedules and firings."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from noetl_engine.schedule.model import Schedule
from noetl_pg.database import Database, Session, Statements, Store

from noetl_catalog.schedules.rows import Firing, Origin, ScheduleRow, State, firing_of, stored

type Clock = Callable[[], Awaitable[datetime]]
"""Returns the current time, by default from the database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSchedule:
    """A schedule that is being registered; `schedule_id` is used if its path is new."""

    schedule_id: int
    path: str
    schedule: Schedule
    owner: str | None = None
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class Playbook:
    """The version of a playbook that an execution uses."""

    catalog_id: int
    path: str
    version: int


@dataclass(frozen=True, slots=True)
class Settled:
    """Outcome of a start, or of the execution that it started.

    Attributes:
        firing: the firing before the outcome.
        state: the new state.
        execution_id: id of the existing execution, if it differs from that of the firing.
        reason: reason for which the execution was not started.
        started_at: time of the answer to the start.
        is_awaited: whether later firings wait for the end of the execution.
        outcome: final status of the execution.
    """

    firing: Firing
    state: State
    execution_id: int | None = None
    reason: str | None = None
    started_at: datetime | None = None
    is_awaited: bool = False
    outcome: str | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """New times of a schedule whose lease is released, and the reason of its end, if it ends."""

    schedule_id: int
    next_at: datetime | None
    look_at: datetime | None
    ended: str | None = None


class ScheduleStore(Store):
    """Statements and transactions on schedules and firings, one method each."""

    def __init__(self, database: Database, *, clock: Clock | None = None) -> None:
        """Create the store; ``clock`` replaces the database's clock."""
        super().__init__(database)
        self._clock = clock

    async def now(self) -> datetime:
        """Return the current time."""
        return await self._now_of(self._db)

    async def keep(
        self, session: Session, new: NewSchedule, *, catalog_id: int, version: int
    ) -> None:
        """Store a schedule in the transaction that stores its document.

        Undecided times stay due, unless the document defines other times.
        """
        mine = self._db.on(session)
        now = await self._now_of(mine)
        known = await mine.fetchrow("lock_schedule", new.path)
        schedule = new.schedule
        before = None if known is None else ScheduleRow(**known)
        is_paused = schedule.is_paused
        if is_paused is None:
            is_paused = before is not None and before.paused_at is not None
        next_at = schedule_id = None
        if before is not None:
            schedule_id = before.schedule_id
            if before.next_at is not None and before.schedule.has_times_of(schedule):
                next_at = before.next_at
        row = _in_force(new, schedule_id or new.schedule_id, now)
        if is_paused:
            next_at = None
        elif next_at is None:
            next_at = row.times.next_after(now)
        await mine.execute(
            "keep_schedule",
            row.schedule_id,
            new.path,
            catalog_id,
            version,
            row.spec,
            new.owner,
            new.namespace,
            schedule.is_paused,
            next_at,
            now if before is not None else next_at and row.due_at(next_at),
            now,
            None,
        )

    async def replace(self, session: Session, path: str) -> None:
        """End the schedule of a path in the transaction that stores another document there."""
        await self._db.on(session).execute("replace_schedule", path)

    async def lease_due(
        self, now: datetime, *, limit: int, seconds: float, lease: str
    ) -> list[ScheduleRow]:
        """Lease schedules that need a decision."""
        rows = await self._db.fetch("lease_due", now, limit, seconds, lease)
        return [ScheduleRow(**row) for row in rows]

    async def find_next_look(self) -> datetime | None:
        """Return the earliest time at which a schedule needs a decision."""
        moment: datetime | None = await self._db.fetchval("find_next_look")
        return moment

    async def list_open_firings(
        self, schedules: Sequence[int], *, limit: int
    ) -> dict[int, list[Firing]]:
        """Return unsettled firings by schedule, oldest first."""
        found: dict[int, list[Firing]] = {one: [] for one in schedules}
        for row in await self._db.fetch("list_open_firings", schedules, limit):
            found[row["schedule_id"]].append(firing_of(row))
        return found

    async def resolve_playbooks(
        self, wanted: Collection[tuple[str, int | None]]
    ) -> dict[tuple[str, int | None], Playbook]:
        """Return the stored versions for paths with a version, or None for the newest."""
        requested = list(wanted)
        rows = await self._db.fetch(
            "resolve_playbooks", [one for one, _ in requested], [one for _, one in requested]
        )
        return {
            requested[row["place"] - 1]: Playbook(row["catalog_id"], row["path"], row["version"])
            for row in rows
        }

    async def insert_firings(
        self, new: Sequence[Firing], *, origin: Origin, now: datetime
    ) -> dict[tuple[int, datetime], int | None]:
        """Store decisions about undecided times, and return their executions."""
        if not new:
            return {}
        rows = await self._db.fetch(
            "insert_firings",
            [one.schedule_id for one in new],
            [one.scheduled_at for one in new],
            [one.state for one in new],
            [one.execution_id for one in new],
            [one.due_at for one in new],
            [one.reason for one in new],
            [one.count for one in new],
            [one.is_awaited for one in new],
            origin,
            now,
        )
        return {(row["schedule_id"], row["scheduled_at"]): row["execution_id"] for row in rows}

    async def settle(self, settled: Sequence[Settled]) -> None:
        """Store the outcomes of starts and executions."""
        if not settled:
            return
        await self._db.execute(
            "settle_firings",
            [one.firing.schedule_id for one in settled],
            [one.firing.scheduled_at for one in settled],
            [one.state for one in settled],
            [one.execution_id for one in settled],
            [one.reason for one in settled],
            [one.started_at for one in settled],
            [one.is_awaited for one in settled],
            [one.outcome for one in settled],
        )

    async def renew(self, schedules: Sequence[int], *, lease: str, until: datetime) -> None:
        """Renew leases that have not expired."""
        await self._db.execute("renew", schedules, lease, until)

    async def release(self, released: Sequence[Release], *, lease: str) -> None:
        """Release leases; changes of a schedule in the meantime are kept."""
        await self._db.execute(
            "release",
            [one.schedule_id for one in released],
            lease,
            [one.next_at for one in released],
            [one.look_at for one in released],
            [one.ended for one in released],
        )

    async def list_schedules(
        self, *, path: str | None, stems: list[str] | None, limit: int, after: str | None
    ) -> list[ScheduleRow]:
        """Return schedules by path."""
        rows = await self._db.fetch("list_schedules", path, stems, limit, after)
        return [ScheduleRow(**row) for row in rows]

    async def find(self, schedule_id: int) -> ScheduleRow | None:
        """Return a schedule."""
        row = await self._db.fetchrow("find_schedule", schedule_id)
        return None if row is None else ScheduleRow(**row)

    async def set_paused(
        self,
        row: ScheduleRow,
        *,
        is_paused: bool,
        by: str | None,
        next_at: datetime | None,
        now: datetime,
    ) -> bool:
        """Pause or resume a schedule; return False if nothing changed."""
        changed = await self._db.fetchval(
            "set_paused", row.schedule_id, is_paused, by, next_at, now, now
        )
        return changed is not None

    async def list_firings(
        self, schedule_id: int, *, before: datetime | None, state: str | None, limit: int
    ) -> list[Firing]:
        """Return firings, newest scheduled time first."""
        if state is None:
            rows = await self._db.fetch("list_firings", schedule_id, before, limit)
        else:
            rows = await self._db.fetch("list_firings_in", schedule_id, before, limit, state)
        return [firing_of(row) for row in rows]

    async def list_firings_of(
        self, schedule_id: int, moments: Sequence[datetime]
    ) -> dict[datetime, Firing]:
        """Return the firings of times."""
        rows = await self._db.fetch("list_firings_of", schedule_id, moments)
        return {row["scheduled_at"]: firing_of(row) for row in rows}

    async def _now_of(self, place: Statements) -> datetime:
        if self._clock is not None:
            return await self._clock()
        moment: datetime = await place.fetchval("now")
        return moment

    async def delete_old_firings(self, *, days: int, limit: int) -> None:
        """Delete firings that are older than a number of days."""
        await self._db.execute("delete_old_firings", days, limit)


def _in_force(new: NewSchedule, schedule_id: int, now: datetime) -> ScheduleRow:
    return ScheduleRow(
        schedule_id=schedule_id,
        path=new.path,
        catalog_id=0,
        version=0,
        spec=stored(new.schedule),
        owner=new.owner,
        namespace=new.namespace,
        registered_at=now,
        paused_at=None,
        paused_by=None,
        ended=None,
        next_at=None,
        look_at=None,
    )
