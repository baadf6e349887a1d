"""The loop that fires due schedules: lease, decide, start, and write the next times.

If a replica dies in between, its leases expire, and starts without an answer are sent again with
the same ids and keys. The loop sleeps until the next schedule is due. A change of schedules wakes
it; if the notification is lost, the sleep is still bounded.

A start without an answer delays only the schedules of its batch, while other schedules fire.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from noetl_common import metrics
from noetl_common.errors import NoetlError, Unavailable
from noetl_common.logging import get_logger
from noetl_contract.events import ExecutionStatus

from noetl_catalog.schedules.launch import FIRINGS, ExecutionStates, Launcher
from noetl_catalog.schedules.plan import Plan, needs_states, next_look, plan
from noetl_catalog.schedules.rows import Firing, Origin, ScheduleRow, State
from noetl_catalog.schedules.settings import ScheduleSettings
from noetl_catalog.schedules.store import Clock, Release, ScheduleStore, Settled

_CHECKS = metrics.counter(
    "noetl_schedule_looks_total",
    "Searches for due schedules, by whether any was found.",
    ["found"],
    zeros=("yes", "no"),
)

_log = get_logger()
_MOST_OPEN = 200
_AGAIN = timedelta(seconds=2)
_MUCH_LATER = timedelta(seconds=60)
_AFTER_ERROR_SECONDS = 1.0
_BEAT_SECONDS = 5.0
_MOST_WORKING = 8
"""Maximum number of batches that wait for answers to their starts."""
_OTHERS_SECONDS = 0.05
_ENDED = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED})


@dataclass(frozen=True, slots=True)
class _Batch:
    """Schedules with one lease."""

    rows: Sequence[ScheduleRow]
    now: datetime
    lease: str


class Firings:
    """The loop that fires schedules; any number of replicas may run it."""

    def __init__(
        self,
        store: ScheduleStore,
        launcher: Launcher,
        *,
        states: ExecutionStates,
        clock: Clock,
        settings: ScheduleSettings,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._launcher = launcher
        self._states = states
        self._clock = clock
        self._settings = settings
        self._beat = on_progress
        self._woken = asyncio.Event()
        self._working: set[asyncio.Task[None]] = set()
        self._asleep_until: datetime | None = None

    def wake(self) -> None:
        """Search for due schedules immediately, because schedules were changed."""
        self._woken.set()

    async def run(self) -> None:
        """Fire until cancelled."""
        try:
            while True:
                self._woken.clear()
                try:
                    pause = await self._begin()
                except NoetlError as error:
                    _log.warning("schedules_not_fired", error=error.message)
                    pause = _AFTER_ERROR_SECONDS
                await self._sleep(min(pause, self._settings.schedule_look_seconds))
        finally:
            for task in self._working:
                task.cancel()
            await asyncio.gather(*self._working, return_exceptions=True)

    async def fire_due(self) -> float:
        """Fire due schedules, and return the seconds until the next schedule is due.

        Raises:
            NoetlError: the database doesn't answer; unfinished firings are continued later.
        """
        batch = await self._lease()
        if batch.rows:
            await self._fire_batch(batch)
        return await self._until_next(batch)

    async def _begin(self) -> float:
        """Fire due schedules like `fire_due`, but in the background."""
        while len(self._working) >= _MOST_WORKING:
            self._beat()
            await asyncio.wait(
                self._working, timeout=_BEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
        batch = await self._lease()
        if batch.rows:
            task = asyncio.create_task(self._fire_batch(batch), name="firings")
            self._working.add(task)
            task.add_done_callback(self._done)
        return await self._until_next(batch)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._working.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, NoetlError):
            _log.warning("schedules_not_fired", error=error.message)
        else:
            _log.error("schedules_not_fired", exc_info=error)

    async def _lease(self) -> _Batch:
        now = await self._clock()
        lease = secrets.token_hex(8)
        rows = await self._store.lease_due(
            now,
            limit=self._settings.schedule_batch,
            seconds=self._settings.schedule_lease_seconds,
            lease=lease,
        )
        _CHECKS.labels("yes" if rows else "no").inc()
        self._beat()
        return _Batch(rows, now, lease)

    async def _until_next(self, batch: _Batch) -> float:
        """Return the seconds until the next schedule is due."""
        # A schedule that is released from now on may be due before the time that the query returns.
        self._asleep_until = None
        self._asleep_until = await self._store.find_next_look()
        if self._asleep_until is None:
            return self._settings.schedule_look_seconds
        # If a schedule is due but was not leased here, another replica has leased it.
        shortest = 0.0 if batch.rows else _OTHERS_SECONDS
        return max(shortest, (self._asleep_until - await self._clock()).total_seconds())

    async def _fire_batch(self, batch: _Batch) -> None:
        """Fire the leased schedules, renew their lease meanwhile, and release them."""
        renewing = asyncio.create_task(self._renew(batch), name="lease of schedules")
        try:
            released = await self._fire(batch.rows, batch.now)
        except NoetlError:
            await self._release([_later(row, batch.now, _AGAIN) for row in batch.rows], batch)
            raise
        finally:
            renewing.cancel()
        await self._release(released, batch)

    async def _release(self, released: Sequence[Release], batch: _Batch) -> None:
        await self._store.release(released, lease=batch.lease)
        first = min((one.look_at for one in released if one.look_at is not None), default=None)
        if first is not None and (self._asleep_until is None or first < self._asleep_until):
            self._woken.set()

    async def _renew(self, batch: _Batch) -> None:
        """Renew the lease of a batch while its starts wait for answers."""
        seconds = self._settings.schedule_lease_seconds
        names = [row.schedule_id for row in batch.rows]
        while True:
            await asyncio.sleep(seconds / 3)
            self._beat()
            try:
                until = await self._clock() + timedelta(seconds=seconds)
                await self._store.renew(names, lease=batch.lease, until=until)
            except NoetlError as error:
                # If the lease expires, another replica leases the schedules and repeats the starts.
                _log.warning("lease_of_schedules_not_renewed", error=error.message)

    async def _fire(self, rows: Sequence[ScheduleRow], now: datetime) -> list[Release]:
        opened = await self._store.list_open_firings(
            [row.schedule_id for row in rows], limit=_MOST_OPEN
        )
        states = await self._known_states(rows, opened, now)
        released: list[Release] = []
        plans: list[Plan] = []
        for row in rows:
            made = self._planned(row, opened[row.schedule_id], states, now)
            if isinstance(made, Release):
                released.append(made)
            else:
                plans.append(made)
        plans, settled = await self._cancelled(plans, released, now)
        wanted = await self._store_decisions(plans, now)
        self._beat()
        settled += await self._launcher.launch(wanted)
        settled += [_over(one, states) for made in plans for one in made.ended]
        await self._store.settle(settled)
        answered = {_name(one.firing) for one in settled}
        is_open = {one.schedule_id for _, one in wanted if _name(one) not in answered}
        released += [_released(made, now, is_open) for made in plans]
        return released

    async def _known_states(
        self, rows: Sequence[ScheduleRow], opened: Mapping[int, Sequence[Firing]], now: datetime
    ) -> dict[int, str] | None:
        """Return the status of executions on which decisions depend, or None if unavailable."""
        needed = [one for row in rows for one in needs_states(row, now, opened[row.schedule_id])]
        if not needed:
            return {}
        try:
            return await self._states.of(needed)
        except Unavailable as error:
            _log.warning("overlap_not_known", error=error.message)
            return None

    def _planned(
        self,
        row: ScheduleRow,
        opened: Sequence[Firing],
        states: Mapping[int, str] | None,
        now: datetime,
    ) -> Plan | Release:
        if not row.is_in_force:
            # Firings that are already decided are still started.
            return Plan(row, opened)
        if row.next_at is None and row.paused_at is None:
            # The document of the schedule is in force again.
            row = replace(row, next_at=row.times.next_after(now))
        try:
            if states is None and needs_states(row, now, opened):
                return _later(row, now, _AGAIN)
            running = {one for one, status in (states or {}).items() if status not in _ENDED}
            limit = self._settings.schedule_queue_limit
            return plan(row, opened, running=running, now=now, queue_limit=limit)
        except Exception as error:  # noqa: BLE001 -- one schedule must not stop the others
            _log.error("schedule_not_decided", path=row.path, exc_info=error)
            return _later(row, now, _MUCH_LATER)

    async def _cancelled(
        self, plans: Sequence[Plan], released: list[Release], now: datetime
    ) -> tuple[list[Plan], list[Settled]]:
        """Cancel executions that are replaced; postpone a schedule if its cancel fails."""
        wanted = [(made, one) for made in plans for one in made.cancelled]
        answers = await asyncio.gather(
            *(
                self._launcher.cancel(one, reason=f"the next firing of {made.row.path} is due")
                for made, one in wanted
            )
        )
        failed = {
            made.row.schedule_id
            for (made, _), answer in zip(wanted, answers, strict=True)
            if answer is None
        }
        released += [_later(one.row, now, _AGAIN) for one in plans if one.row.schedule_id in failed]
        left = [one for one in plans if one.row.schedule_id not in failed]
        return left, [answer for answer in answers if answer is not None]

    async def _store_decisions(
        self, plans: Sequence[Plan], now: datetime
    ) -> list[tuple[ScheduleRow, Firing]]:
        """Store the decisions, so that they survive a crash, and return the firings to start."""
        rows = {made.row.schedule_id: made.row for made in plans}
        new = [
            replace(one, execution_id=self._launcher.mint(made.row, one.scheduled_at))
            if one.state in {State.STARTING, State.QUEUED}
            else one
            for made in plans
            for one in made.decided
        ]
        kept = await self._store.insert_firings(new, origin=Origin.CLOCK, now=now)
        for one in new:
            if _name(one) in kept and one.state is not State.STARTING:
                FIRINGS.labels(one.state, one.origin).inc(one.count)
        before = [
            one
            for made in plans
            for one in [*(x for x in made.open if x.state is State.STARTING), *made.promoted]
        ]
        begun = [one for one in new if one.state is State.STARTING and _name(one) in kept]
        return [(rows[one.schedule_id], one) for one in [*before, *begun]]

    async def _sleep(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (left := end - loop.time()) > 0:
            self._beat()
            try:
                async with asyncio.timeout(min(left, _BEAT_SECONDS)):
                    await self._woken.wait()
            except TimeoutError:
                continue
            return


def _name(firing: Firing) -> tuple[int, datetime]:
    return firing.schedule_id, firing.scheduled_at


def _later(row: ScheduleRow, now: datetime, pause: timedelta) -> Release:
    return Release(row.schedule_id, row.next_at, now + pause, row.ended)


def _over(firing: Firing, states: Mapping[int, str] | None) -> Settled:
    """Return the outcome of an awaited firing after the end of its execution."""
    return Settled(firing, State.STARTED, outcome=(states or {}).get(firing.execution_id or 0))


def _released(made: Plan, now: datetime, is_open: set[int]) -> Release:
    row = made.row
    ended = None
    if not row.is_in_force:
        ended = "its document was deleted"
    elif row.paused_at is None and made.next_at is None:
        ended = "it has no times any more"
    when = next_look(made, now)
    if row.schedule_id in is_open:
        when = now + _AGAIN
    return Release(row.schedule_id, made.next_at, when, ended)
