"""Invariants of every execution that was accepted, checked in the tables.

Used by the end-to-end tests and by the kill runs: it looks at the log itself, not at what
the system says about it.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg

TERMINAL = (
    "playbook.completed",
    "playbook.failed",
    "playbook_completed",
    "playbook_failed",
    "playbook_cancelled",
)


@dataclass
class Findings:
    """Everything that is wrong, by kind; empty means nothing was lost and nothing doubled."""

    executions: int = 0
    events: int = 0
    commands: int = 0
    reissued: int = 0
    late_rows: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


async def check_executions(dsn: str, execution_ids: Sequence[int]) -> Findings:
    """Check the logs of executions.

    Args:
        dsn: where the shard's tables are.
        execution_ids: every execution whose start was accepted.

    Returns:
        Figures and problems: executions without rows, gaps in the positions, none or several
        terminal events, commands with no or several effective outcomes, commands issued twice.
    """
    findings = Findings(executions=len(execution_ids))
    connection = await asyncpg.connect(dsn)
    try:
        ids = list(execution_ids)
        logs = await connection.fetch(
            """
            SELECT execution_id, count(*) AS events, max(position) AS last, min(position) AS first,
                   count(*) FILTER (WHERE event_type = ANY($2::text[])) AS terminal,
                   count(*) FILTER (WHERE meta ->> 'late' = 'true') AS late,
                   count(*) FILTER (WHERE event_type = 'playbook_started') AS started
            FROM noetl.event WHERE execution_id = ANY($1::bigint[]) GROUP BY execution_id
            """,
            ids,
            list(TERMINAL),
        )
        by_id = {row["execution_id"]: row for row in logs}
        for execution_id in ids:
            row = by_id.get(execution_id)
            if row is None:
                findings.problems.append(f"{execution_id}: accepted, but there is no log")
                continue
            findings.events += row["events"]
            findings.late_rows += row["late"]
            if row["first"] != 1 or row["last"] != row["events"]:
                findings.problems.append(
                    f"{execution_id}: positions {row['first']}..{row['last']}, {row['events']} rows"
                )
            if row["terminal"] != 1:
                findings.problems.append(f"{execution_id}: {row['terminal']} terminal events")
            if row["started"] != 1:
                findings.problems.append(f"{execution_id}: {row['started']} playbook_started")
        states = await connection.fetch(
            """
            SELECT s.execution_id, s.status, s.position FROM noetl.execution_state s
            WHERE s.execution_id = ANY($1::bigint[])
            """,
            ids,
        )
        for row in states:
            findings.statuses[row["status"]] = findings.statuses.get(row["status"], 0) + 1
            log = by_id.get(row["execution_id"])
            if log is not None and log["last"] != row["position"]:
                findings.problems.append(
                    f"{row['execution_id']}: state at {row['position']}, log at {log['last']}"
                )
        await _check_commands(connection, ids, findings)
    finally:
        await connection.close()
    return findings


async def _check_commands(
    connection: asyncpg.Connection, ids: list[int], findings: Findings
) -> None:
    commands = await connection.fetch(
        """
        SELECT execution_id, command_id,
               count(*) FILTER (WHERE event_type = 'command.issued') AS issued,
               count(*) FILTER (WHERE event_type = 'command.claimed') AS claimed,
               count(*) FILTER (WHERE event_type IN ('command.completed', 'command.failed')
                                AND NOT late) AS outcomes,
               -- A run may have told its call and died before the outcome: one a run.
               count(*) FILTER (WHERE event_type IN ('call.done', 'call.error') AND NOT late)
               - count(DISTINCT attempts) FILTER (
                   WHERE event_type IN ('call.done', 'call.error') AND NOT late) AS extra_calls
        FROM (
            SELECT execution_id, event_type,
                   COALESCE(meta ->> 'command_id', result -> 'context' ->> 'command_id')
                       AS command_id,
                   COALESCE(meta ->> 'late' = 'true', FALSE) AS late,
                   COALESCE(meta ->> 'attempts', '0') AS attempts
            FROM noetl.event
            WHERE execution_id = ANY($1::bigint[])
              AND event_type IN ('command.issued', 'command.claimed', 'command.completed',
                                 'command.failed', 'call.done', 'call.error')
        ) AS worked
        GROUP BY execution_id, command_id
        """,
        ids,
    )
    for row in commands:
        findings.commands += 1
        findings.reissued += max(0, row["claimed"] - 1)
        name = row["command_id"]
        if row["issued"] != 1:
            findings.problems.append(f"{name}: issued {row['issued']} times")
        if row["outcomes"] != 1:
            findings.problems.append(f"{name}: {row['outcomes']} effective outcomes")
        if row["extra_calls"]:
            findings.problems.append(f"{name}: {row['extra_calls']} calls told twice by a run")


async def longest_gap(dsn: str, *, since: float, until: float) -> float:
    """Return the longest time in seconds without a committed event in a window (Unix times)."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            """
            SELECT extract(EPOCH FROM ingest_time)::float8 AS at FROM noetl.event
            WHERE ingest_time BETWEEN to_timestamp($1) AND to_timestamp($2) ORDER BY ingest_time
            """,
            since,
            until,
        )
    finally:
        await connection.close()
    moments = [since, *(row["at"] for row in rows), until]
    return max(later - earlier for earlier, later in itertools.pairwise(moments))
