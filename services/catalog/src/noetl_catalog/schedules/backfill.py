"""Backfills: start past times that were not started, a few at a time.

A backfill has no state besides its firings, which have the same keys and ids as firings of the
clock. Each step reads the existing firings, so any caller can continue a backfill.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from noetl_contract.events import ExecutionStatus
from noetl_contract.http.catalog.schedules import BackfillAnswer
from noetl_contract.http.moments import rfc3339

from noetl_catalog.schedules.launch import ExecutionStates, Launcher
from noetl_catalog.schedules.rows import Firing, Origin, ScheduleRow, State
from noetl_catalog.schedules.store import ScheduleStore, Settled

MOST_TIMES = 1000
"""Maximum number of times that one step examines."""
UNKNOWN = "UNKNOWN"
"""The outcome of an execution that the projectors no longer have."""
_ENDED = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED})
_WORDS = {
    ExecutionStatus.COMPLETED: "completed",
    ExecutionStatus.FAILED: "failed",
    ExecutionStatus.CANCELLED: "cancelled",
}


@dataclass(slots=True)
class _Part:
    """The times of one part of a range, and their firings."""

    times: Sequence[datetime]
    firings: dict[datetime, Firing]
    refused: list[Settled] = field(default_factory=list)
    started: int = 0

    def in_state(self, state: State) -> list[Firing]:
        return [one for one in self.firings.values() if one.state is state]

    def running(self) -> list[Firing]:
        running = [one for one in self.firings.values() if one.is_running]
        return [*running, *self.in_state(State.STARTING)]

    def waiting(self) -> list[datetime]:
        """Return the times to start, in order."""
        tried = {one.firing.scheduled_at for one in self.refused}
        done = {one.scheduled_at for one in self.firings.values() if _is_started(one)}
        return [one for one in self.times if one not in done and one not in tried]


class Backfills:
    """Executes backfills, one step per call."""

    def __init__(
        self, store: ScheduleStore, launcher: Launcher, *, states: ExecutionStates
    ) -> None:
        self._store = store
        self._launcher = launcher
        self._states = states

    async def step(
        self, row: ScheduleRow, *, begin: datetime, end: datetime, parallel: int, now: datetime
    ) -> BackfillAnswer:
        """Start firings up to the limit of parallel executions, and return the progress.

        Raises:
            NoetlError: the database or a projector doesn't answer; the step may be retried.
        """
        span = row.times.between(begin, min(end, now), limit=MOST_TIMES)
        firings = await self._store.list_firings_of(row.schedule_id, span.times)
        part = _Part(span.times, firings)
        await self._update_running(part)
        await self._start(row, part, parallel=parallel, now=now)
        until = end if span.until >= min(end, now) else span.until
        return _answer(row, part, until)

    async def _update_running(self, part: _Part) -> None:
        """Record the outcomes of executions that have ended."""
        running = [one for one in part.firings.values() if one.is_running]
        if not running:
            return
        states = await self._states.of(one.execution_id or 0 for one in running)
        over: list[Settled] = []
        for one in running:
            status = states.get(one.execution_id or 0, UNKNOWN)
            if status in _ENDED or status == UNKNOWN:
                over.append(Settled(one, State.STARTED, outcome=status))
                part.firings[one.scheduled_at] = replace(one, outcome=status)
        await self._store.settle(over)

    async def _start(self, row: ScheduleRow, part: _Part, *, parallel: int, now: datetime) -> None:
        begun = part.in_state(State.STARTING)
        free = max(0, parallel - len(part.running()))
        new = [
            Firing(
                schedule_id=row.schedule_id,
                scheduled_at=moment,
                state=State.STARTING,
                execution_id=self._launcher.mint(row, moment),
                origin=Origin.BACKFILL,
                due_at=row.due_at(moment),
                decided_at=now,
            )
            for moment in part.waiting()[:free]
        ]
        kept = await self._store.insert_firings(new, origin=Origin.BACKFILL, now=now)
        for one in new:
            name = (one.schedule_id, one.scheduled_at)
            if name in kept:
                mine = replace(one, execution_id=kept[name])
                part.firings[one.scheduled_at] = mine
                begun.append(mine)
        settled = await self._launcher.launch([(row, one) for one in begun])
        await self._store.settle(settled)
        for result in settled:
            part.firings[result.firing.scheduled_at] = replace(
                result.firing, state=result.state, reason=result.reason
            )
            if result.state is State.FAILED:
                part.refused.append(result)
            else:
                part.started += 1


def _is_started(firing: Firing) -> bool:
    return firing.state in {State.STARTED, State.STARTING, State.QUEUED}


def _answer(row: ScheduleRow, part: _Part, until: datetime) -> BackfillAnswer:
    counts = _outcomes(part.firings)
    running, waiting = len(part.running()), len(part.waiting())
    first = part.refused[0] if part.refused else None
    return BackfillAnswer(
        schedule_id=row.schedule_id,
        until=rfc3339(until),
        is_over=not running and not waiting and not part.refused,
        total=len(part.times),
        **{word: counts[status] for status, word in _WORDS.items()},
        unknown=counts[UNKNOWN],
        running=running,
        waiting=waiting,
        left=len(part.in_state(State.QUEUED)),
        refused=len(part.refused),
        started=part.started,
        reason=first and f"{rfc3339(first.firing.scheduled_at)}: {first.reason}",
    )


def _outcomes(known: Mapping[datetime, Firing]) -> Counter[str]:
    started: Iterable[Firing] = (one for one in known.values() if one.state is State.STARTED)
    return Counter(one.outcome for one in started if one.outcome is not None)
