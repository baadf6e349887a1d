"""Stalls: times in which an execution stood still although it had something to do."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from noetl_testkit.oracles.findings import TERMINAL, Findings

if TYPE_CHECKING:
    import asyncpg

    from noetl_testkit.oracles.findings import Connection

_FOR_EVER = float("inf")
_OUTCOMES = ("command.completed", "command.failed")
_EVENTS = """
SELECT execution_id, parent_execution_id, position, event_type, node_name, node_type,
       extract(EPOCH FROM ingest_time)::float8 AS at,
       COALESCE(meta ->> 'command_id', result -> 'context' ->> 'command_id') AS command_id,
       extract(EPOCH FROM (result #>> '{context,due_at}')::timestamptz)::float8 AS due,
       (result #>> '{context,result,context,duration_ms}')::float8 / 1000 AS worked
FROM noetl.event
WHERE (execution_id = ANY($1::bigint[]) OR parent_execution_id = ANY($1::bigint[]))
  AND meta ->> 'late' IS DISTINCT FROM 'true'
ORDER BY execution_id, position
"""
_MOMENTS = """
SELECT extract(EPOCH FROM ingest_time)::float8 AS at FROM noetl.event
WHERE ingest_time BETWEEN to_timestamp($1) AND to_timestamp($2) ORDER BY ingest_time
"""


@dataclass(frozen=True)
class Stall:
    """A time without an event.

    Attributes:
        seconds: its length.
        since: Unix time of its begin.
        before: type and step of the event that ended it; empty if none has.
    """

    execution_id: int
    seconds: float
    since: float
    before: str


@dataclass
class _Waiting:
    """Open commands of an execution while its log is read."""

    work: set[str] = field(default_factory=set)
    periods: list[tuple[float, float]] = field(default_factory=list)
    """Times in which it waits for a signal, a time or a child."""

    def idle(self, since: float, until: float) -> float:
        """Return the longest part of a time in which there was something to do, in seconds."""
        if self.work:
            return until - since
        longest, at = 0.0, since
        for begin, end in sorted(self.periods):
            if begin > at:
                longest = max(longest, min(begin, until) - at)
            at = max(at, end)
            if at >= until:
                return longest
        return max(longest, until - at)


async def stalls(
    connection: "Connection",
    execution_ids: Sequence[int],
    *,
    seen: Mapping[int, Sequence[float]] | None = None,
    until: float | None = None,
) -> list[Stall]:
    """Return the longest stall of each execution.

    A stall is a time between two of its events in which a command is open that nobody waits for, or
    nothing is open, so that a decision is due. It is none while all that is open is a wait for a
    signal, a sleep that is not due, or a child that runs; from the child's own start and end on it
    is one again. Time that a tool says to have worked is taken off.

    Args:
        connection: to the shard's database.
        execution_ids: executions to look at.
        seen: more signs of life by execution, as Unix times, such as effects of its tools: tries of
            one command write no events.
        until: Unix time to which executions that have not ended are judged; None for not at all.
    """
    rows = await connection.fetch(_EVENTS, list(execution_ids))
    wanted = set(execution_ids)
    logs = {
        one: list(events) for one, events in itertools.groupby(rows, lambda r: r["execution_id"])
    }
    children: dict[int, list[tuple[float, float]]] = {}
    for events in logs.values():
        parent = events[0]["parent_execution_id"]
        if parent is not None:
            last = events[-1]
            ended = last["at"] if last["event_type"] in TERMINAL else _FOR_EVER
            children.setdefault(parent, []).append((events[0]["at"], ended))
    found = []
    for execution_id in wanted & logs.keys():
        signs = sorted((seen or {}).get(execution_id, ()))
        between = _stalls_of(logs[execution_id], children.get(execution_id, []), signs, until=until)
        found.append(max(between, key=lambda one: one.seconds))
    return found


def _stalls_of(
    events: Sequence["asyncpg.Record"],
    children: Sequence[tuple[float, float]],
    signs: Sequence[float],
    *,
    until: float | None,
) -> Iterator[Stall]:
    execution_id, last = events[0]["execution_id"], events[0]["at"]
    waiting = _Waiting(periods=list(children))
    sleeps: dict[str, int] = {}
    yield Stall(execution_id, 0.0, last, "")
    for event in events:
        at = max(last, event["at"])
        before = f"{event['event_type']} {event['node_name']}"
        points = [last, *(sign for sign in signs if last < sign < at), at]
        for begin, end in itertools.pairwise(points):
            worked = (event["worked"] or 0.0) if end == at else 0.0
            yield Stall(execution_id, waiting.idle(begin, end) - worked, begin, before)
        last, kind, command = at, event["event_type"], event["command_id"]
        if kind in TERMINAL:
            return
        if kind == "command.issued" and event["node_type"] != "playbook":
            waiting.work.add(command)
        elif kind == "wait.started":
            sleeping = event["node_type"] == "sleep" and event["due"] is not None
            sleeps[command] = len(waiting.periods)
            waiting.periods.append((at, event["due"] if sleeping else _FOR_EVER))
        elif kind in _OUTCOMES:
            waiting.work.discard(command)
            if (index := sleeps.pop(command, None)) is not None:
                begin, end = waiting.periods[index]
                waiting.periods[index] = (begin, min(end, at))
    if until is not None and until > last:
        yield Stall(execution_id, waiting.idle(last, until), last, "")


async def check_stalls(
    connection: "Connection",
    execution_ids: Sequence[int],
    findings: Findings,
    *,
    limit: float | None = None,
    seen: Mapping[int, Sequence[float]] | None = None,
    until: float | None = None,
) -> None:
    """Note the longest stall, and each that is longer than a limit in seconds as a problem."""
    for one in await stalls(connection, execution_ids, seen=seen, until=until):
        text = f"{one.execution_id} before {one.before or 'nothing more'}"
        if one.seconds > findings.stall:
            findings.stall, findings.stalled = one.seconds, text
        if limit is not None and one.seconds > limit:
            findings.problems.append(f"{text}: stood still for {one.seconds:.1f} s")


async def longest_gap(connection: "Connection", *, since: float, until: float) -> float:
    """Return the longest time in seconds without a committed event in a window (Unix times)."""
    rows = await connection.fetch(_MOMENTS, since, until)
    moments: list[float] = [since, *(row["at"] for row in rows), until]
    return max((later - earlier for earlier, later in itertools.pairwise(moments)), default=0.0)


__all__ = ["Stall", "check_stalls", "longest_gap", "stalls"]
