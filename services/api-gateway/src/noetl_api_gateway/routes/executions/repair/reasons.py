"""Reasons why an execution waits, in words: from its open rows and the registered workers."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from noetl_contract.http.executions.why import (
    OpenCommand,
    OpenJoin,
    OpenLoop,
    OpenTimer,
    OpenWork,
    PoolLoad,
    Reason,
    WhyWorker,
)
from noetl_contract.http.moments import duration_human
from noetl_contract.http.workers.pauses import Pause
from noetl_contract.http.workers.runtimes import RuntimeEntry
from noetl_contract.json import Json
from noetl_contract.subjects import pool_of_workers

from noetl_api_gateway.routes.executions.repair.withheld import (
    PAUSE_TIMER,
    of_joins,
    of_own_pause,
    of_pauses,
    pause_of,
)

SILENT_SECONDS = 60.0
"""Without a heartbeat for so long a worker counts as gone."""
_PATIENCE = timedelta(seconds=3)
_MOST_REASONS = 50
_MOST_NAMED = 5
_MOST_COUNTED = 10_000


def workers_of(runtimes: Iterable[RuntimeEntry]) -> list[WhyWorker]:
    """Return the registered workers, by the pool that they take commands of."""
    found = []
    for one in runtimes:
        labels = one.labels if isinstance(one.labels, dict) else {}
        told = one.capabilities if isinstance(one.capabilities, dict) else {}
        kinds = told.get("tools")
        found.append(
            WhyWorker(
                name=one.name,
                pool=pool_of_workers(str(labels.get("pool_name") or "")),
                status=one.status,
                heartbeat=one.heartbeat,
                kinds=[str(kind) for kind in kinds] if isinstance(kinds, list) else None,
            )
        )
    return found


def reasons_for(
    work: OpenWork,
    workers: list[WhyWorker],
    *,
    pauses: Sequence[Pause] = (),
    joins: Sequence[OpenJoin] = (),
) -> list[Reason]:
    """Return what an execution waits for; never empty."""
    if work.status != "RUNNING":
        text = f"it ended {work.status}" + (f": {work.error}" if work.error else "")
        return [Reason(code="ended", text=text, since=work.ended_at or work.started_at)]
    found = [*of_own_pause(work.timers), *of_pauses(work, pauses), *_of_restart(work)]
    free = [one for one in work.commands if pause_of(one, work.path, pauses) is None]
    found += [*_of_commands(work, free, workers), *_of_waits(work), *_of_children(work)]
    found += [_of_loop(loop) for loop in work.loops if _is_bounded(loop)]
    found += of_joins(joins, started_at=work.started_at)
    if not found:
        found = list(_of_nothing(work))
    return found[:_MOST_REASONS]


def _of_restart(work: OpenWork) -> Iterator[Reason]:
    if work.origin_execution_id is not None:
        yield Reason(
            code="taking_over",
            text=f"it takes over what execution {work.origin_execution_id} has done",
            since=work.started_at,
            execution_id=work.origin_execution_id,
        )


def _of_commands(
    work: OpenWork, commands: list[OpenCommand], workers: list[WhyWorker]
) -> Iterator[Reason]:
    """One reason for each of these open commands; alike ones of a step once, with their number."""
    now = _moment(work.now)
    loads = {load.pool: load for load in work.pools}
    callbacks = {_event_of(timer): timer for timer in work.timers if _is_of_command(timer)}
    told: Counter[tuple[str, str]] = Counter()
    kept: list[Reason] = []
    for command in commands:
        if command.tool_kind == "wait":
            continue
        timer = callbacks.get(command.event_id)
        reason = _of_command(command, workers, loads, timer, now=now)
        told[reason.code, command.step] += 1
        if told[reason.code, command.step] == 1:
            kept.append(reason)
    for reason in kept:
        more = told[reason.code, reason.step or ""] - 1
        text = f"{reason.text} (and {more} more iterations)" if more else reason.text
        yield reason.model_copy(update={"text": text})


def _of_command(
    command: OpenCommand,
    workers: list[WhyWorker],
    loads: Mapping[str, PoolLoad],
    timer: OpenTimer | None,
    *,
    now: datetime,
) -> Reason:
    if command.outbox_status == "PARKED":
        text = f"its command can't be published: {command.outbox_error or 'it was given up'}"
        return _reason("parked_outbox", command, text, since=command.issued_at)
    # Nobody (an empty name) has what its worker could not begin.
    if command.status == "PENDING" or command.worker_id == "":
        return _of_pending(command, workers, loads, now=now)
    if command.worker_id is None:
        text = "its tool has begun something that reports back by a callback"
        since = command.started_at or command.issued_at
        return _reason("callback", command, text, since=since, timer=timer)
    return _of_held(command, workers, timer, now=now)


def _of_pending(
    command: OpenCommand,
    workers: list[WhyWorker],
    loads: Mapping[str, PoolLoad],
    *,
    now: datetime,
) -> Reason:
    there = [one for one in workers if one.pool == command.pool and not _is_silent(one, now)]
    pool, kind = command.pool, command.tool_kind
    since = command.issued_at
    if not there:
        silent = [one for one in workers if one.pool == pool]
        text = f"no worker of pool '{pool}' is registered"
        if silent:
            last = max(silent, key=lambda one: one.heartbeat)
            text = (
                f"no worker of pool '{pool}' is alive: {last.name} was heard last, "
                f"{_ago(last.heartbeat, now)} ago"
            )
        return _reason("no_worker", command, f"waits for a worker: {text}", since=since)
    is_late = now - _moment(since) > _PATIENCE
    if is_late and command.outbox_status in {"PENDING", "FAILED", "IN_FLIGHT"}:
        why = f": {command.outbox_error}" if command.outbox_error else ""
        text = f"its command is committed and not published yet{why}"
        return _reason("not_published", command, text, since=since)
    able = [one for one in there if one.kinds is None or kind is None or kind in one.kinds]
    if not able and kind != "task_sequence":
        text = f"waits for a worker: none of the {len(there)} of pool '{pool}' runs tool '{kind}'"
        return _reason("no_worker_for_kind", command, text, since=since)
    load = loads.get(pool)
    share = ""
    if load is not None:
        more = "at least " if load.waiting >= _MOST_COUNTED else ""
        share = f"; the pool runs {load.running} commands, and {more}{load.waiting} wait"
    text = f"waits for one of {_names(able)} of pool '{pool}' since {_ago(since, now)}{share}"
    return _reason("workers_busy", command, text, since=since)


def _of_held(
    command: OpenCommand, workers: list[WhyWorker], timer: OpenTimer | None, *, now: datetime
) -> Reason:
    worker = next((one for one in workers if one.name == command.worker_id), None)
    since = command.started_at or command.claimed_at or command.issued_at
    if worker is None or _is_silent(worker, now):
        heard = "is not registered any more"
        if worker is not None:
            heard = f"was heard last {_ago(worker.heartbeat, now)} ago"
        lease = f"; its lease is looked at {_when(command.lease_until, now)}"
        text = f"its worker {command.worker_id} {heard}{lease if command.lease_until else ''}"
        return _reason("worker_silent", command, text, since=since)
    attempt = f", attempt {command.holds}" if command.holds > 1 else ""
    if command.started_at is None:
        text = f"worker {command.worker_id} has taken it {_ago(since, now)} ago{attempt}"
        return _reason("claimed", command, text, since=since, timer=timer)
    text = f"runs at worker {command.worker_id} since {_ago(since, now)}{attempt}"
    return _reason("running", command, text, since=since, timer=timer)


def _reason(
    code: Json, command: OpenCommand, text: str, *, since: str, timer: OpenTimer | None = None
) -> Reason:
    where = "" if command.iteration is None else f" (iteration {command.iteration})"
    return Reason(
        code=code,
        text=f"step '{command.step}'{where} {text}"
        if not text.startswith("its")
        else f"step '{command.step}'{where}: {text}",
        since=since,
        step=command.step,
        iteration=command.iteration,
        pool=command.pool,
        tool_kind=command.tool_kind,
        worker_id=command.worker_id,
        due_at=None if timer is None else timer.due_at,
    )


def _of_waits(work: OpenWork) -> Iterator[Reason]:
    """Yield timers that end a wait or let the execution go on; a command's are reported with it."""
    now = _moment(work.now)
    for timer in work.timers:
        if _is_of_command(timer) or timer.kind == PAUSE_TIMER:
            continue
        payload = timer.payload if isinstance(timer.payload, dict) else {}
        step = payload.get("step")
        where = f"step '{step}' " if isinstance(step, str) else ""
        when = _when(timer.due_at, now)
        if timer.kind == "wait":
            signal = payload.get("signal")
            what = f"waits for the signal '{signal}'" if signal else "waits"
            text, code = f"{where}{what}; it ends by itself {when}", "wait"
        elif timer.kind == "continue":
            text, code = f"the next part of a large fan-out is issued {when} at the latest", "timer"
        else:
            text, code = f"{where}has a timer '{timer.kind}' that rings {when}", "timer"
        yield Reason(
            code=code,
            text=text,
            since=timer.created_at,
            due_at=timer.due_at,
            step=step if isinstance(step, str) else None,
        )


def _of_children(work: OpenWork) -> Iterator[Reason]:
    for child in work.children[:_MOST_NAMED]:
        at = f", at step '{child.step}'" if child.step else ""
        more = work.child_count - _MOST_NAMED
        rest = f" (and {more} more children)" if more > 0 and child is work.children[0] else ""
        yield Reason(
            code="child",
            text=f"child execution {child.execution_id} ({child.path}) runs{at}{rest}",
            since=child.started_at,
            execution_id=child.execution_id,
        )


def _is_bounded(loop: OpenLoop) -> bool:
    """Whether iterations wait because of the loop's own limit."""
    if loop.total is None or loop.limit is None:
        return False
    return loop.in_flight >= loop.limit and loop.in_flight + loop.ended < loop.total


def _of_loop(loop: OpenLoop) -> Reason:
    left = (loop.total or 0) - loop.in_flight - loop.ended
    text = (
        f"loop '{loop.step}' runs at most {loop.limit} of its {loop.total} iterations at once: "
        f"{loop.ended} have ended, {left} wait"
    )
    return Reason(code="loop_limit", text=text, since=loop.since, step=loop.step)


def _of_nothing(work: OpenWork) -> Iterator[Reason]:
    if work.pending_outbox:
        yield Reason(
            code="not_published",
            text=f"{work.pending_outbox} rows of its outbox are not published yet",
            since=work.pending_since or work.started_at,
        )
        return
    yield Reason(
        code="nothing_open",
        text="nothing of it is open: its next decision is on the way, or was refused "
        "(see the orchestrator's log and dead letters)",
        since=work.started_at,
    )


def _is_of_command(timer: OpenTimer) -> bool:
    return timer.kind in {"step_timeout", "callback_timeout"}


def _event_of(timer: OpenTimer) -> Json:
    return timer.payload.get("event_id") if isinstance(timer.payload, dict) else None


def _is_silent(worker: WhyWorker, now: datetime) -> bool:
    return (now - _moment(worker.heartbeat)).total_seconds() > SILENT_SECONDS


def _names(workers: list[WhyWorker]) -> str:
    names = ", ".join(one.name for one in workers[:_MOST_NAMED])
    more = len(workers) - _MOST_NAMED
    return f"{len(workers)} workers ({names}{f' and {more} more' if more > 0 else ''})"


def _ago(moment: str, now: datetime) -> str:
    return duration_human(max(0.0, (now - _moment(moment)).total_seconds()))


def _when(moment: str | None, now: datetime) -> str:
    if moment is None:
        return "at no fixed time"
    seconds = (_moment(moment) - now).total_seconds()
    return f"in {duration_human(seconds)}" if seconds >= 1 else "now"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
