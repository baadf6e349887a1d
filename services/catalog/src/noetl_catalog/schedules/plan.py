"""Pure functions that decide which times of a schedule are started, queued or skipped."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from noetl_engine.schedule.model import Overlap

from noetl_catalog.schedules.rows import Firing, ScheduleRow, State

MOST_TIMES = 500
"""Maximum number of times of a schedule in one plan."""
_QUEUE_SHARE = 0.1
_SHORTEST_QUEUE_LOOK = timedelta(seconds=1)
_LONGEST_QUEUE_LOOK = timedelta(seconds=30)
_SUPERSEDED = "a later firing was due as well"


@dataclass(slots=True)
class Plan:
    """The decisions about one schedule.

    Attributes:
        row: the schedule.
        open: earlier firings that are not settled.
        decided: new decisions; firings in state `starting` are started.
        promoted: queued firings that are started.
        cancelled: firings whose executions are cancelled before.
        ended: firings whose executions have ended.
        next_at: the next time after this plan.
        is_cut: whether more times have to be decided immediately.
    """

    row: ScheduleRow
    open: Sequence[Firing] = ()
    decided: list[Firing] = field(default_factory=list)
    promoted: list[Firing] = field(default_factory=list)
    cancelled: list[Firing] = field(default_factory=list)
    ended: list[Firing] = field(default_factory=list)
    next_at: datetime | None = None
    is_cut: bool = False

    @property
    def starts(self) -> list[Firing]:
        """Firings to start: earlier, queued and new ones."""
        before = [one for one in self.open if one.state is State.STARTING]
        new = [one for one in self.decided if one.state is State.STARTING]
        return [*before, *self.promoted, *new]

    @property
    def waits(self) -> bool:
        """Whether firings are queued after this plan."""
        promoted = {one.scheduled_at for one in self.promoted}
        return any(
            one.state is State.QUEUED and one.scheduled_at not in promoted
            for one in [*self.open, *self.decided]
        )


def needs_states(row: ScheduleRow, now: datetime, opened: Iterable[Firing]) -> list[int]:
    """Return the ids of executions on whose status the decision depends."""
    if row.schedule.overlap is Overlap.ALLOW:
        return []
    is_due = row.next_at is not None and row.due_at(row.next_at) <= now
    if not is_due and not any(one.state is State.QUEUED for one in opened):
        return []
    return [one.execution_id for one in opened if one.is_awaited and one.execution_id is not None]


def plan(
    row: ScheduleRow,
    opened: Sequence[Firing],
    *,
    running: Collection[int],
    now: datetime,
    queue_limit: int,
) -> Plan:
    """Decide about one schedule.

    Args:
        row: the schedule.
        opened: earlier firings that are not settled, oldest first.
        running: executions of `needs_states` that have not ended.
        now: the current time.
        queue_limit: maximum number of queued firings.
    """
    made = Plan(row, opened, next_at=row.next_at)
    if row.paused_at is not None:
        made.next_at = None
        return made
    due = _due_times(made, now)
    asked = needs_states(row, now, opened)
    awaited = [one for one in opened if one.is_awaited]
    if asked:
        made.ended = [one for one in awaited if one.execution_id not in running]
    live = [one for one in awaited if one not in made.ended]
    live += [one for one in opened if one.state is State.STARTING]
    match row.schedule.overlap:
        case Overlap.ALLOW:
            made.decided += [_firing(row, moment, State.STARTING, now) for moment in due]
        case Overlap.SKIP:
            _skip(made, due, live, now)
        case Overlap.CANCEL:
            _cancel(made, due, live, now)
        case Overlap.QUEUE:
            _queue(made, due, live, now, queue_limit)
    return made


def next_look(made: Plan, now: datetime) -> datetime | None:
    """Return the time at which the schedule needs its next decision, or None."""
    if made.is_cut:
        return now
    times = []
    if made.next_at is not None:
        times.append(made.row.due_at(made.next_at))
    if made.waits:
        since = min((one.decided_at for one in made.open), default=now)
        pause = max(_SHORTEST_QUEUE_LOOK, min((now - since) * _QUEUE_SHARE, _LONGEST_QUEUE_LOOK))
        times.append(now + pause)
    return min(times, default=None)


def _due_times(made: Plan, now: datetime) -> list[datetime]:
    """Return the times to start, and decide that times which are too late are missed."""
    row, known = made.row, {one.scheduled_at for one in made.open}
    window = timedelta(seconds=row.schedule.window_seconds)
    due: list[datetime] = []
    missed: list[datetime] = []
    moment = row.next_at
    for _ in range(MOST_TIMES):
        if moment is None or row.due_at(moment) > now:
            break
        if moment not in known:
            (missed if now - row.due_at(moment) > window else due).append(moment)
        moment = row.times.next_after(moment)
    else:
        if missed and moment is not None and now - moment > window:
            # Too many times are missed to store each of them, so the first stands for all.
            moment = row.times.next_after(now - window)
            made.decided.append(_missed(row, missed[0], now, len(missed), f"all until {moment}"))
            missed = []
        made.is_cut = True
    made.next_at = moment
    made.decided += [_missed(row, one, now, 1, None) for one in missed]
    return due


def _skip(made: Plan, due: list[datetime], live: Sequence[Firing], now: datetime) -> None:
    before = live[-1] if live else None
    for moment in due:
        state = State.STARTING if before is None else State.SKIPPED
        one = _firing(made.row, moment, state, now)
        if before is None:
            before = one
        else:
            one = replace(one, reason=_runs(before))
        made.decided.append(one)


def _cancel(made: Plan, due: list[datetime], live: Sequence[Firing], now: datetime) -> None:
    if not due:
        return
    if any(one.state is State.STARTING for one in live):
        # An execution that may not have started can't be cancelled, so its start is settled first.
        made.next_at, made.is_cut = due[0], True
        return
    made.cancelled = [one for one in live if one.execution_id is not None]
    for moment in due[:-1]:
        one = _firing(made.row, moment, State.SKIPPED, now)
        made.decided.append(replace(one, reason=_SUPERSEDED))
    made.decided.append(_firing(made.row, due[-1], State.STARTING, now))


def _queue(
    made: Plan, due: list[datetime], live: Sequence[Firing], now: datetime, limit: int
) -> None:
    waiting = [one for one in made.open if one.state is State.QUEUED]
    is_busy = bool(live)
    if waiting and not is_busy:
        made.promoted.append(waiting.pop(0))
        is_busy = True
    queued = len(waiting)
    for moment in due:
        if not is_busy:
            made.decided.append(_firing(made.row, moment, State.STARTING, now))
            is_busy = True
        elif queued < limit:
            made.decided.append(_firing(made.row, moment, State.QUEUED, now))
            queued += 1
        else:
            one = _firing(made.row, moment, State.SKIPPED, now)
            made.decided.append(replace(one, reason=f"{limit} firings are queued already"))


def _firing(row: ScheduleRow, moment: datetime, state: State, now: datetime) -> Firing:
    return Firing(
        schedule_id=row.schedule_id,
        scheduled_at=moment,
        state=state,
        due_at=row.due_at(moment),
        decided_at=now,
        is_awaited=False,
    )


def _missed(
    row: ScheduleRow, moment: datetime, now: datetime, count: int, more: str | None
) -> Firing:
    window = row.schedule.window_seconds
    reason = f"more than {window} s late" + (f", {more}" if more else "")
    return replace(_firing(row, moment, State.MISSED, now), reason=reason, count=count)


def _runs(before: Firing) -> str:
    if before.execution_id is None:
        return f"the firing of {before.scheduled_at.isoformat()} has begun"
    return f"execution {before.execution_id} of {before.scheduled_at.isoformat()} runs"
