"""Logs of executions: gapless, with one start and one end, each command with one outcome."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from noetl_testkit.oracles.findings import TERMINAL, Findings

if TYPE_CHECKING:
    import asyncpg

    from noetl_testkit.oracles.findings import Connection

_LOGS = """
SELECT execution_id, count(*) AS events, max(position) AS last, min(position) AS first,
       count(*) FILTER (WHERE event_type = ANY($2::text[])) AS terminal,
       max(event_type) FILTER (WHERE event_type = ANY($2::text[])) AS ended,
       count(*) FILTER (WHERE meta ->> 'late' = 'true') AS late,
       count(*) FILTER (WHERE event_type = 'playbook_started') AS started
FROM noetl.event WHERE execution_id = ANY($1::bigint[]) GROUP BY execution_id
"""
_STATES = """
SELECT execution_id, status, position FROM noetl.execution_state
WHERE execution_id = ANY($1::bigint[])
"""
_COMMANDS = """
SELECT execution_id, command_id,
       -- A wait is issued to nobody: its own event stands for it.
       count(*) FILTER (WHERE event_type IN ('command.issued', 'wait.started')) AS issued,
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
      AND event_type IN ('command.issued', 'wait.started', 'command.claimed', 'command.completed',
                         'command.failed', 'call.done', 'call.error')
) AS worked
GROUP BY execution_id, command_id
"""


async def check_logs(
    connection: "Connection", execution_ids: Sequence[int], findings: Findings
) -> None:
    """Check the logs of executions, and their states against them.

    Finds executions without rows, gaps in the positions, none or several starts or ends, a status
    that is not that of the end, commands issued twice, and with no or several effective outcomes.
    A command of an execution that failed or was cancelled may have none.

    Args:
        connection: to the shard's database.
        execution_ids: every execution whose start was accepted.
        findings: gets figures and problems.
    """
    ids = list(execution_ids)
    findings.executions += len(ids)
    logs = {row["execution_id"]: row for row in await connection.fetch(_LOGS, ids, list(TERMINAL))}
    for execution_id in ids:
        if (row := logs.get(execution_id)) is None:
            findings.problems.append(f"{execution_id}: accepted, but there is no log")
        else:
            _check_log(row, findings)
    completed: set[int] = set()
    for row in await connection.fetch(_STATES, ids):
        findings.statuses[row["status"]] = findings.statuses.get(row["status"], 0) + 1
        if row["status"] == "COMPLETED":
            completed.add(row["execution_id"])
        if (log := logs.get(row["execution_id"])) is not None:
            _check_state(row, log, findings)
    for row in await connection.fetch(_COMMANDS, ids):
        _check_command(row, findings, is_needed=row["execution_id"] in completed)


def _check_log(row: "asyncpg.Record", findings: Findings) -> None:
    name = row["execution_id"]
    findings.events += row["events"]
    findings.late_rows += row["late"]
    if row["first"] != 1 or row["last"] != row["events"]:
        findings.problems.append(
            f"{name}: positions {row['first']}..{row['last']}, {row['events']} rows"
        )
    if row["terminal"] != 1:
        findings.problems.append(f"{name}: {row['terminal']} terminal events")
        findings.unfinished += row["terminal"] == 0
    if row["started"] != 1:
        findings.problems.append(f"{name}: {row['started']} playbook_started")


def _check_state(row: "asyncpg.Record", log: "asyncpg.Record", findings: Findings) -> None:
    name = row["execution_id"]
    if log["last"] != row["position"]:
        findings.problems.append(f"{name}: state at {row['position']}, log at {log['last']}")
    if TERMINAL.get(log["ended"], "RUNNING") != row["status"]:
        findings.problems.append(f"{name}: state {row['status']}, log ends {log['ended']}")


def _check_command(row: "asyncpg.Record", findings: Findings, *, is_needed: bool) -> None:
    name = row["command_id"]
    findings.commands += 1
    findings.reissued += max(0, row["claimed"] - 1)
    if row["issued"] != 1:
        findings.problems.append(f"{name}: issued {row['issued']} times")
    if row["outcomes"] > 1 or (row["outcomes"] == 0 and is_needed):
        findings.problems.append(f"{name}: {row['outcomes']} effective outcomes")
    if row["extra_calls"]:
        findings.problems.append(f"{name}: {row['extra_calls']} calls told twice by a run")


__all__ = ["check_logs"]
