"""Operations on schedules, one function each, and notifications of changed schedules."""

from collections.abc import Callable, Iterable, Mapping

from noetl_bus.broker import Bus
from noetl_bus.rpc import Handlers, answers
from noetl_common.errors import Unavailable
from noetl_contract.access.principal import OnBehalf, Principal
from noetl_contract.hints import ChangeHint
from noetl_contract.http.catalog.schedules import (
    BackfillAnswer,
    FiringBody,
    FiringList,
    NextTime,
    NextTimes,
    ScheduleBody,
    ScheduleList,
)
from noetl_contract.http.moments import rfc3339_or_none
from noetl_contract.http.scalars import parse_moment
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.schedules import (
    SCHEDULE_BACKFILL,
    SCHEDULE_GET,
    SCHEDULE_HISTORY,
    SCHEDULE_LIST,
    SCHEDULE_NEXT,
    SCHEDULE_PAUSE,
    SCHEDULE_RESUME,
    Backfill,
    HistoryRequest,
    NextRequest,
    ScheduleName,
    SchedulePage,
)
from noetl_contract.subjects import SCHEDULE_HINT

from noetl_catalog.schedules.backfill import Backfills
from noetl_catalog.schedules.launch import ExecutionStates
from noetl_catalog.schedules.rows import Firing, ScheduleRow, State
from noetl_catalog.schedules.store import Clock, ScheduleStore

_MOST_SCHEDULES = 1000
_MOST_TIMES = 100
_MOST_FIRINGS = 1000


class ScheduleHints:
    """Sends and receives notifications of changed schedules, which may be lost."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def notify(self) -> None:
        """Wake all replicas."""
        await self._bus.send(SCHEDULE_HINT, ChangeHint().to_json())

    async def listen(self, wake: Callable[[], None]) -> None:
        """Call a function for each notification, for the lifetime of the connection."""
        await self._bus.subscribe(SCHEDULE_HINT, lambda _message: wake())


class ScheduleHandlers(Handlers):
    """Operations on schedules; schedules outside of the caller's namespaces are hidden."""

    def __init__(
        self,
        store: ScheduleStore,
        backfills: Backfills,
        *,
        states: ExecutionStates,
        hints: ScheduleHints,
        clock: Clock,
    ) -> None:
        self._store = store
        self._backfills = backfills
        self._states = states
        self._hints = hints
        self._clock = clock

    @answers(SCHEDULE_LIST)
    async def on_list(self, request: SchedulePage) -> ScheduleList:
        """List schedules by path."""
        who = request.principal
        limit = max(1, min(request.limit, _MOST_SCHEDULES))
        rows = await self._store.list_schedules(
            path=request.path,
            stems=None if who is None else who.stems(),
            limit=limit,
            after=request.after,
        )
        after = rows[-1].path if len(rows) == limit else None
        return ScheduleList(schedules=[_body(row) for row in rows], after=after)

    @answers(SCHEDULE_GET)
    async def on_get(self, request: ScheduleName) -> ScheduleBody | Refusal:
        """Return a schedule."""
        row = await self._found(request)
        return row if isinstance(row, Refusal) else _body(row)

    @answers(SCHEDULE_PAUSE)
    async def on_pause(self, request: ScheduleName) -> ScheduleBody | Refusal:
        """Pause a schedule; pausing a paused schedule has no effect."""
        return await self._paused(request, is_paused=True)

    @answers(SCHEDULE_RESUME)
    async def on_resume(self, request: ScheduleName) -> ScheduleBody | Refusal:
        """Resume a schedule from now on."""
        return await self._paused(request, is_paused=False)

    @answers(SCHEDULE_NEXT)
    async def on_next(self, request: NextRequest) -> NextTimes | Refusal:
        """Return the next times; the list is empty if the schedule is paused or has ended."""
        row = await self._found(request)
        if isinstance(row, Refusal):
            return row
        count = max(1, min(request.count, _MOST_TIMES))
        first = row.next_at
        times = [] if first is None else [first, *row.times.first(first, count=count - 1)]
        return NextTimes(
            schedule_id=row.schedule_id,
            timezone=row.schedule.timezone,
            times=[
                NextTime(
                    scheduled_at=one,
                    due_at=row.due_at(one),
                    local=row.times.local(one).isoformat(),
                )
                for one in times
            ],
        )

    @answers(SCHEDULE_HISTORY)
    async def on_history(self, request: HistoryRequest) -> FiringList | Refusal:
        """List firings, newest first."""
        row = await self._found(request)
        if isinstance(row, Refusal):
            return row
        if request.state is not None and request.state not in set(State):
            return Refusal(422, f"state must be one of {', '.join(State)}")
        before = None if request.before is None else parse_moment(request.before)
        if request.before is not None and before is None:
            return Refusal(422, "before is not a time (RFC 3339)")
        found = await self._store.list_firings(
            row.schedule_id,
            before=before,
            state=request.state,
            limit=max(1, min(request.limit, _MOST_FIRINGS)),
        )
        states = await self._statuses(found)
        return FiringList(
            schedule_id=row.schedule_id, firings=[_firing_body(one, states) for one in found]
        )

    @answers(SCHEDULE_BACKFILL)
    async def on_backfill(self, request: Backfill) -> BackfillAnswer | Refusal:
        """Execute the next step of a backfill."""
        row = await self._found(request)
        if isinstance(row, Refusal):
            return row
        playbook = row.schedule.playbook
        if (refused := _change_refused(request.principal, row.path, playbook)) is not None:
            return refused
        if row.ended is not None and row.ended != _NO_MORE:
            return Refusal(409, f"The schedule {row.path} has ended: {row.ended}")
        if request.to <= request.begin:
            return Refusal(422, "`to` is not after `from`")
        return await self._backfills.step(
            row,
            begin=request.begin,
            end=request.to,
            parallel=request.parallel,
            now=await self._clock(),
        )

    async def _found(self, request: ScheduleName) -> ScheduleRow | Refusal:
        row = await self._store.find(request.schedule_id)
        if row is None or _hides(request, row.path):
            return Refusal(404, f"Schedule not found: {request.schedule_id}")
        return row

    async def _paused(self, request: ScheduleName, *, is_paused: bool) -> ScheduleBody | Refusal:
        row = await self._found(request)
        if isinstance(row, Refusal):
            return row
        if (refused := _change_refused(request.principal, row.path)) is not None:
            return refused
        if row.ended is not None:
            return Refusal(409, f"The schedule {row.path} has ended: {row.ended}")
        now = await self._clock()
        await self._store.set_paused(
            row,
            is_paused=is_paused,
            by=request.principal.name if request.principal else None,
            next_at=None if is_paused else row.times.next_after(now),
            now=now,
        )
        await self._hints.notify()
        changed = await self._store.find(request.schedule_id)
        return _body(changed or row)

    async def _statuses(self, found: Iterable[Firing]) -> Mapping[int, str]:
        """Return the status of executions that may be running, or nothing if a shard is away."""
        running = [one.execution_id for one in found if one.is_running and one.execution_id]
        try:
            return await self._states.of(running)
        except Unavailable:
            return {}


_NO_MORE = "it has no times any more"


def _hides(request: OnBehalf, path: str) -> bool:
    return request.principal is not None and not request.principal.reaches(path)


def _change_refused(principal: Principal | None, *paths: str) -> Refusal | None:
    """Return a refusal if a caller may not change one of the paths."""
    if principal is None:
        return None
    path = next((one for one in paths if not principal.may_change(one)), None)
    return None if path is None else Refusal(403, f"'{path}' is out of reach of {principal.name}")


def _body(row: ScheduleRow) -> ScheduleBody:
    schedule = row.schedule
    state = "active" if row.paused_at is None else "paused"
    return ScheduleBody(
        schedule_id=row.schedule_id,
        path=row.path,
        catalog_id=row.catalog_id,
        version=row.version,
        playbook=schedule.playbook,
        playbook_version=schedule.version,
        cron=schedule.cron,
        interval_seconds=schedule.interval_seconds,
        timezone=schedule.timezone,
        overlap=schedule.overlap.value,
        catch_up_seconds=schedule.catch_up_seconds,
        jitter_seconds=schedule.jitter_seconds,
        start=rfc3339_or_none(schedule.start),
        end=rfc3339_or_none(schedule.end),
        state="ended" if row.ended is not None else state,
        reason=row.ended,
        owner=row.owner,
        paused_at=rfc3339_or_none(row.paused_at),
        paused_by=row.paused_by,
        next_at=rfc3339_or_none(row.next_at),
    )


def _firing_body(firing: Firing, states: Mapping[int, str]) -> FiringBody:
    status = firing.outcome
    if status is None and firing.execution_id is not None:
        status = states.get(firing.execution_id)
    is_chosen_only = firing.state in {State.QUEUED, State.FAILED}
    return FiringBody(
        scheduled_at=firing.scheduled_at,
        state=firing.state.value,
        origin=firing.origin.value,
        execution_id=None if is_chosen_only else firing.execution_id,
        status=status,
        due_at=firing.due_at,
        decided_at=firing.decided_at,
        started_at=rfc3339_or_none(firing.started_at),
        reason=firing.reason,
        count=firing.count,
    )
