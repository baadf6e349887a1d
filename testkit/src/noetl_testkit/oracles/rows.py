"""Rows that a run leaves behind, and the read model against the log."""

from typing import TYPE_CHECKING

from noetl_testkit.oracles.findings import Findings

if TYPE_CHECKING:
    from noetl_testkit.oracles.findings import Connection

KEY_SECONDS = 604_800.0
"""How long keys of requests are kept unless `NOETL_REQUEST_KEY_SECONDS` says otherwise."""

_LEFT = {
    "rows of the outbox are {what}": """
        SELECT status AS what, count(*) AS number FROM noetl.outbox
        WHERE status <> 'PUBLISHED' GROUP BY status
    """,
    "timers of ended executions, kind {what}": """
        SELECT t.kind AS what, count(*) AS number FROM noetl.timer AS t
        LEFT JOIN noetl.execution_state AS s USING (execution_id)
        WHERE s.status IS DISTINCT FROM 'RUNNING' GROUP BY t.kind
    """,
    "commands of ended executions are {what}": """
        SELECT c.status AS what, count(*) AS number FROM noetl.command AS c
        LEFT JOIN noetl.execution_state AS s USING (execution_id)
        WHERE s.status IS DISTINCT FROM 'RUNNING'
          AND c.status IN ('PENDING', 'CLAIMED', 'RUNNING')
        GROUP BY c.status
    """,
    "keys of requests without their execution, scope {what}": """
        SELECT k.scope AS what, count(*) AS number FROM noetl.request_key AS k
        LEFT JOIN noetl.execution_state AS s USING (execution_id)
        WHERE s.execution_id IS NULL AND k.scope = 'execute' GROUP BY k.scope
    """,
    "snapshots of ended executions behind their log, {what}": """
        SELECT s.status AS what, count(*) AS number FROM noetl.execution_snapshot AS n
        LEFT JOIN noetl.execution_state AS s USING (execution_id)
        WHERE s.execution_id IS NULL OR n.position > s.position GROUP BY s.status
    """,
    "children without their parent's log, {what}": """
        SELECT 'of commands' AS what, count(*) AS number FROM noetl.child AS c
        LEFT JOIN noetl.execution_state AS s USING (execution_id)
        WHERE s.execution_id IS NULL HAVING count(*) > 0
    """,
}
_OLD_KEYS = """
SELECT count(*) FROM noetl.request_key WHERE seen_at < now() - make_interval(secs => 2 * $1)
"""
_READ_MODEL = """
SELECT s.execution_id, s.status, s.position, s.ended_at,
       e.status AS shown, e.position AS shown_position, e.end_time AS shown_end
FROM noetl.execution_state AS s
LEFT JOIN noetl.execution AS e USING (execution_id)
WHERE e.status IS DISTINCT FROM s.status OR e.position IS DISTINCT FROM s.position
   OR e.end_time IS DISTINCT FROM s.ended_at
ORDER BY s.execution_id
"""
_STRANGERS = """
SELECT e.execution_id FROM noetl.execution AS e
LEFT JOIN noetl.execution_state AS s USING (execution_id) WHERE s.execution_id IS NULL
"""
_COUNTERS = """
SELECT path, status, c.executions AS kept, coalesce(n.executions, 0) AS counted
FROM noetl.execution_counter AS c
FULL JOIN (
    SELECT path, status, count(*) AS executions FROM noetl.execution GROUP BY path, status
) AS n USING (path, status)
WHERE coalesce(c.executions, 0) <> coalesce(n.executions, 0)
"""
_DAYS = """
SELECT day, d.executions AS kept, n.executions AS counted
FROM noetl.execution_day AS d
FULL JOIN (
    SELECT (start_time AT TIME ZONE 'UTC')::date AS day, count(*) AS executions
    FROM noetl.execution GROUP BY 1
) AS n USING (day)
WHERE coalesce(d.executions, 0) <> coalesce(n.executions, 0)
"""


async def left(connection: "Connection") -> list[str]:
    """Return the rows of all tables that nobody needs once everything has ended, a line a kind."""
    return [
        f"{row['number']} {text.format(what=row['what'])}"
        for text, question in _LEFT.items()
        for row in await connection.fetch(question)
    ]


async def behind(connection: "Connection") -> list[str]:
    """Return where rows, statuses, positions and counters of the read model are not the log's."""
    found = [
        f"{row['execution_id']}: shown {row['shown']} at {row['shown_position']}, "
        f"is {row['status']} at {row['position']}"
        for row in await connection.fetch(_READ_MODEL)
    ]
    found += [
        f"{row['execution_id']}: shown, but has no state"
        for row in await connection.fetch(_STRANGERS)
    ]
    found += [
        f"counter of {row['path']} {row['status']}: {row['kept']}, there are {row['counted']}"
        for row in await connection.fetch(_COUNTERS)
    ]
    found += [
        f"counter of {row['day']}: {row['kept']}, there are {row['counted']}"
        for row in await connection.fetch(_DAYS)
    ]
    return found


async def check_rows(
    connection: "Connection", findings: Findings, *, key_seconds: float = KEY_SECONDS
) -> None:
    """Find what is left, what the read model shows otherwise, and keys beyond their retention.

    Once everything has ended and been published; the clean-up of keys has as long again as they are
    kept.
    """
    findings.problems += await left(connection)
    findings.problems += await behind(connection)
    if old := await connection.fetchval(_OLD_KEYS, key_seconds):
        findings.problems.append(f"{old} keys of requests are older than they are kept")


__all__ = ["KEY_SECONDS", "behind", "check_rows", "left"]
