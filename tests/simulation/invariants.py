"""Checks of what docs/guarantees.md promises, by the log and by what tools did.

What the guarantees except is excepted here by name, each with its reason.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tests.simulation import clocks
from tests.simulation.plan import Plan, Trouble
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.seed import Answered

HINT_SECONDS = 0.3
"""Until a worker has heard of a cancel, in an undisturbed world."""
STALL_SECONDS = 5.0
"""How long an execution that waits for nothing may stand still, in an undisturbed world."""
LOST_SECONDS = 42.0
"""After the loss of a worker or of deliveries: the acknowledgement wait or the time for which a
command that came with an answer may start unclaimed (30 s), and the looks behind it."""

POWER_CUT_SECONDS = 75.0
"""After a broker forgot messages that it had acknowledged, which only a power cut makes it do: a
command is looked for after NOETL_PENDING_RETRY_SECONDS (60 s)."""

_LOSES_DELIVERIES = frozenset({"kill", "freeze", "hole", "cut", "restart", "wipe", "lose", "full"})
_ENDS = (
    "playbook.completed", "playbook.failed", "playbook_completed", "playbook_failed",
    "playbook_cancelled", "playbook.cancelled",
)  # fmt: skip
_LOGS = """
SELECT e.execution_id, count(*) AS events, min(e.position) AS first, max(e.position) AS last,
    count(*) FILTER (WHERE e.event_type = 'playbook_started') AS starts,
    count(*) FILTER (WHERE e.event_type = ANY($1::TEXT[])) AS ends,
    max(s.position) AS position, max(s.status) AS status
FROM noetl.event AS e
LEFT JOIN noetl.execution_state AS s ON e.execution_id = s.execution_id
GROUP BY e.execution_id
"""
_COMMANDS = """
SELECT execution_id, command_id,
    count(*) FILTER (WHERE event_type = 'command.issued') AS issued,
    count(*) FILTER (
        WHERE event_type IN ('command.completed', 'command.failed') AND NOT late
    ) AS outcomes,
    extract(EPOCH FROM min(ingest_time) FILTER (
        WHERE event_type IN ('command.completed', 'command.failed') AND NOT late
    ))::FLOAT8 AS recorded_at
FROM (
    SELECT execution_id, event_type, ingest_time,
        coalesce(meta ->> 'command_id', result -> 'context' ->> 'command_id') AS command_id,
        coalesce(meta ->> 'late' = 'true', FALSE) AS late
    FROM noetl.event
    WHERE event_type IN ('command.issued', 'command.completed', 'command.failed')
) AS worked
GROUP BY execution_id, command_id
"""
_TIMES = """
SELECT execution_id, position, event_type, node_name, status, worker_id,
    extract(EPOCH FROM ingest_time)::FLOAT8 AS at
FROM noetl.event ORDER BY execution_id, position
"""
_QUIET = """
SELECT
    (SELECT count(*) FROM noetl.execution_state WHERE ended_at IS NULL)
    + (SELECT count(*) FROM noetl.outbox WHERE status IN ('PENDING', 'IN_FLIGHT', 'FAILED'))
"""
_BEHIND = """
SELECT s.execution_id FROM noetl.execution_state AS s
LEFT JOIN noetl.execution AS x ON s.execution_id = x.execution_id
WHERE x.position IS DISTINCT FROM s.position
    OR lower(x.status) IS DISTINCT FROM lower(s.status)
"""
_LEFT = """
SELECT 'timer' AS kind, execution_id FROM noetl.timer
UNION ALL
SELECT 'parked outbox row', execution_id FROM noetl.outbox WHERE status = 'PARKED'
UNION ALL
SELECT 'outbox row', execution_id FROM noetl.outbox
WHERE status IN ('PENDING', 'IN_FLIGHT', 'FAILED')
UNION ALL
SELECT 'open command', c.execution_id FROM noetl.command AS c
INNER JOIN noetl.execution_state AS s ON c.execution_id = s.execution_id
WHERE s.ended_at IS NOT NULL AND c.completed_at IS NULL
"""


def is_quiet(world: World, *, projector: bool) -> bool:
    """Return whether all executions have ended, and all is published and shown."""
    if world.database.ask("fetchrow", _QUIET)[0]:
        return False
    return not projector or not world.database.ask("fetch", _BEHIND)


class Watch:
    """Looks at the logs after each commit of a turn."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.findings: list[str] = []

    def after_commit(self) -> None:
        """Check what has to hold at any moment."""
        if not self.findings:
            self.findings += _logs(self._world)


def _logs(world: World) -> list[str]:
    found = []
    for row in world.database.ask("fetch", _LOGS, list(_ENDS)):
        name = f"execution {row['execution_id']}"
        if row["first"] != 1 or row["last"] != row["events"] or row["position"] != row["last"]:
            found.append(
                f"positions: {name} has {row['events']} events from {row['first']} to "
                f"{row['last']}, its state is at {row['position']}"
            )
        if row["starts"] != 1:
            found.append(f"starts: {name} has {row['starts']} starts")
        if row["ends"] > 1:
            found.append(f"ends: {name} has {row['ends']} ends")
    return found


def at_the_end(world: World, plan: Plan, answered: "Sequence[Answered]", began: float) -> list[str]:
    """Return what is wrong when everything should be over."""
    found = _logs(world)
    logs = {r["execution_id"]: r for r in world.database.ask("fetch", _LOGS, list(_ENDS))}
    events: dict[int, list[Any]] = defaultdict(list)
    for row in world.database.ask("fetch", _TIMES):
        events[row["execution_id"]].append(row)
    found += _starts(answered, logs)
    for execution_id, row in logs.items():
        if row["ends"] != 1:
            last = events[execution_id][-1]
            found.append(
                f"stuck: execution {execution_id} has no end; its last event is "
                f"{last['event_type']} of {last['node_name']} at {_since(last['at']):.3f}"
            )
    for row in world.database.ask("fetch", _LEFT):
        found.append(f"left: a {row['kind']} of execution {row['execution_id']}")
    if plan.projector:
        for row in world.database.ask("fetch", _BEHIND):
            found.append(f"read model: execution {row['execution_id']} is shown otherwise")
    commands = {
        (row["execution_id"], row["command_id"]): row
        for row in world.database.ask("fetch", _COMMANDS)
    }
    for (execution_id, command_id), row in commands.items():
        if row["issued"] > 1 or row["outcomes"] > 1:
            found.append(
                f"outcomes: {command_id} of {execution_id} was issued {row['issued']} times and "
                f"has {row['outcomes']} outcomes that count"
            )
    troubles = _moved(plan.acting, began)
    found += _tools(world, troubles, events, commands, answered)
    found += _stalls(world, plan, troubles, events)
    found += [
        f"ended by itself: {name} at {at:.3f}: {error!r}"
        for at, name, error in world.crashes
        if isinstance(error, clocks.Livelock) or not _near(troubles, at - 60.0, at)
    ]
    return found


def _starts(answered: "Sequence[Answered]", logs: dict[int, Any]) -> list[str]:
    found = []
    known = set()
    for one in answered:
        known.update(one.accepted)
        if len(one.accepted) > 1:
            found.append(f"keys: {one.wanted.key} has the executions {sorted(one.accepted)}")
        found += [
            f"lost: execution {execution_id} was accepted and has no log"
            for execution_id in one.accepted - logs.keys()
        ]
        found += [
            f"refused: {execution_id} was answered with 503 and has started"
            for execution_id in one.refused
            if execution_id in logs and execution_id not in one.accepted
        ]
        made = [one for one in one.execution_ids if one in logs]
        if one.wanted.key and len(made) > 1:
            found.append(f"keys: {one.wanted.key} has the executions {made}")
    return found


def _tools(
    world: World,
    troubles: list[Trouble],
    events: dict[int, list[Any]],
    commands: dict[tuple[int, str], Any],
    answered: "Sequence[Answered]",
) -> list[str]:
    found = []
    ends = {
        execution_id: (_since(row["at"]), row["event_type"])
        for execution_id, rows in events.items()
        for row in rows
        if row["event_type"] in _ENDS
    }
    cancelled = {min(one.accepted): one.cancelled_at for one in answered if one.cancelled_at}
    runs: dict[tuple[int, str], list[tuple[float, str, int]]] = defaultdict(list)
    for at, process, command in world.begun:
        key = (command.execution_id, command.command_id)
        runs[key].append((at, process, command.attempts))
        over = cancelled.get(command.execution_id)
        if over is None:
            over = ends.get(command.execution_id, (float("inf"), ""))[0]
        if at > over + HINT_SECONDS and not _near(troubles, over - 1.0, at):
            found.append(
                f"after the end: {command.step} of {command.execution_id} began on {process} at "
                f"{at:.3f}, {at - over:.3f} s after the end at {over:.3f}"
            )
    # Only these leave anybody in doubt whether a tool began: what else goes wrong costs time.
    doubts = [one for one in troubles if one.where.startswith("worker") or one.where == "broker"]
    for key, known in runs.items():
        row = commands.get(key)
        recorded = _since(row["recorded_at"]) if row and row["recorded_at"] else float("inf")
        for (before, first, _), (at, second, attempts) in pairwise(known):
            what = (
                f"{key[1]} of {key[0]} ran on {first} at {before:.3f} and on {second} at {at:.3f}"
            )
            if at > recorded and not _clocks(troubles):
                found.append(
                    f"twice: {what}, though its outcome is in the log since {recorded:.3f}"
                )
            elif not _near(doubts, before - 1.0, at):
                found.append(f"twice: {what} (attempt {attempts}), and nothing was lost")
    for key, row in commands.items():
        if row["outcomes"] and key not in runs and (key[1] or "").count("rest") == 0:
            found.append(f"never ran: {key[1]} of {key[0]} has an outcome and no run")
    return found


def _stalls(
    world: World, plan: Plan, troubles: list[Trouble], events: dict[int, list[Any]]
) -> list[str]:
    found = []
    busy: dict[int, list[tuple[float, float]]] = defaultdict(list)
    running: dict[tuple[str, str, int], float] = {}
    happened = [(at, 0, p, c) for at, p, c in world.begun]
    happened += [(at, 1, p, c) for at, p, c in world.ended]
    for at, is_end, process, command in sorted(happened, key=lambda one: one[:3]):
        key = (process, command.command_id, command.attempts)
        if not is_end:
            running[key] = at
            busy[command.execution_id].append((at, at))
        elif key in running:
            busy[command.execution_id].append((running.pop(key), at))
    full = _Full([span for spans in busy.values() for span in spans], plan.slots)
    rests = {c[0] for c in _sleeping(world)}
    for execution_id, rows in events.items():
        spans = busy[execution_id] + [(_since(row["at"]), _since(row["at"])) for row in rows]
        spans.sort()
        end = next((_since(r["at"]) for r in rows if r["event_type"] in _ENDS), world.universe.now)
        reached = spans[0][0]
        for begin, until in spans:
            if begin > end:
                break
            allowed = STALL_SECONDS + (3.5 if execution_id in rests else 0.0)
            allowed += full.seconds(reached, begin)
            allowed += sum(
                min(one.until, begin) - max(one.at, reached - 1.0)
                for one in troubles
                if one.at < begin and one.until > reached - 1.0 and one.kind != "clock"
            )
            if any(
                one.kind in _LOSES_DELIVERIES
                and not (one.kind == "freeze" and one.where.startswith("orchestrator"))
                and one.at < begin
                and one.until > reached - LOST_SECONDS
                for one in troubles
            ):
                is_cut = any(one.kind == "restart" and one.amount > 1.0 for one in troubles)
                allowed += POWER_CUT_SECONDS if is_cut else LOST_SECONDS
            if begin - reached > allowed:
                found.append(
                    f"stall: execution {execution_id} stood still for {begin - reached:.3f} s "
                    f"from {reached:.3f} to {begin:.3f}; {allowed:.3f} s are allowed"
                )
            reached = max(reached, until)
    return found


def _sleeping(world: World) -> list[Any]:
    rows = world.database.ask(
        "fetch", "SELECT DISTINCT execution_id FROM noetl.event WHERE node_name = 'rest'"
    )
    return [(row["execution_id"],) for row in rows]


class _Full:
    """The time in which as many tools were at work as one worker has slots.

    What comes then may have to wait behind others.
    """

    def __init__(self, spans: Sequence[tuple[float, float]], slots: int) -> None:
        changes = sorted([(a, 1) for a, _ in spans] + [(b, -1) for _, b in spans])
        self._spans: list[tuple[float, float]] = []
        running, since = 0, 0.0
        for at, change in changes:
            if running < slots <= running + change:
                since = at
            elif running + change < slots <= running:
                self._spans.append((since, at))
            running += change

    def seconds(self, since: float, until: float) -> float:
        """Return how much of it lies between two moments."""
        return sum(max(0.0, min(b, until) - max(a, since)) for a, b in self._spans)


def _moved(troubles: Sequence[Trouble], by: float) -> list[Trouble]:
    return [Trouble(one.at + by, one.kind, one.where, one.seconds, one.amount) for one in troubles]


def _near(troubles: Sequence[Trouble], since: float, until: float) -> bool:
    return any(one.at <= until and one.until >= since for one in troubles)


def _clocks(troubles: Sequence[Trouble]) -> bool:
    return any(one.kind == "clock" for one in troubles)


def _since(at: float) -> float:
    return at - clocks.BEGAN
