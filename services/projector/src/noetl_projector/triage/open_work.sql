-- Open work of an execution, read from its rows.

-- name: find_execution
-- The state row, the database's time, and the origin that a restarted one still takes over from.
-- $1 execution id
SELECT
    s.execution_id, s.path, s.status, s.error, s.started_at, s.ended_at, clock_timestamp() AS now,
    CASE
        WHEN
            s.status = 'RUNNING'
            AND first.meta ? 'restart'
            AND NOT EXISTS (
                SELECT FROM noetl.event AS e
                WHERE
                    e.execution_id = s.execution_id
                    AND e.event_type = 'execution.restored'
                    AND e.note ? 'over'
            )
            THEN first.meta #>> '{restart,execution_id}'
    END AS origin_execution_id
FROM noetl.execution_state AS s
INNER JOIN noetl.event AS first
    ON first.execution_id = s.execution_id
    AND first.position = 1
WHERE s.execution_id = $1;

-- name: open_commands
-- Open commands with their notifications, oldest first. $1 execution id, $2 limit
SELECT
    c.event_id, c.step_name AS step, c.iter_index AS iteration, c.tool_kind, c.pool, c.status,
    c.worker_id, c.holds, c.created_at AS issued_at, c.claimed_at, c.started_at, c.lease_until,
    c.notified_at, o.status AS outbox_status, o.last_error AS outbox_error,
    count(*) OVER () AS total
FROM noetl.command AS c
LEFT JOIN noetl.outbox AS o
    ON o.execution_id = c.execution_id
    AND o.event_id = c.event_id
    AND o.kind = 'command'
WHERE
    c.execution_id = $1
    AND c.status IN ('PENDING', 'CLAIMED', 'RUNNING')
ORDER BY c.event_id
LIMIT $2;

-- name: open_timers
-- Timers, the next first. $1 execution id, $2 limit
SELECT t.kind, t.due_at, t.created_at, t.payload
FROM noetl.timer AS t
WHERE t.execution_id = $1
ORDER BY t.due_at
LIMIT $2;

-- name: open_children
-- Children that run, oldest first. $1 execution id, $2 limit
SELECT
    s.execution_id, s.path, s.status, s.started_at, s.current_step AS step,
    count(*) OVER () AS total
FROM noetl.execution_state AS s
WHERE
    s.parent_execution_id = $1
    AND s.status = 'RUNNING'
ORDER BY s.execution_id
LIMIT $2;

-- name: open_loops
-- The loops of steps with open iterations: their newest entry, and their commands since.
-- $1 execution id, $2 steps
WITH wanted AS (
    SELECT unnest($2::TEXT[]) AS step
),

entry AS MATERIALIZED (
    SELECT f.*
    FROM wanted
    CROSS JOIN
        LATERAL (
            SELECT
                e.node_name AS step, e.event_id,
                e.created_at AT TIME ZONE 'UTC' AS since,
                (e.result #>> '{context,iterations_expected}')::INTEGER AS total,
                (e.note ->> 'limit')::INTEGER AS loop_limit
            FROM noetl.event AS e
            WHERE
                e.execution_id = $1
                AND e.event_type = 'step.enter'
                AND e.node_name = wanted.step
            ORDER BY e.position DESC
            LIMIT 1
        ) AS f
)

SELECT
    entry.step, entry.total, entry.loop_limit, entry.since,
    count(*) FILTER (WHERE c.status IN ('PENDING', 'CLAIMED', 'RUNNING')) AS in_flight,
    count(*) FILTER (WHERE c.status NOT IN ('PENDING', 'CLAIMED', 'RUNNING')) AS ended
FROM entry
LEFT JOIN noetl.command AS c
    ON c.execution_id = $1
    AND c.step_name = entry.step
    AND c.event_id > entry.event_id
GROUP BY entry.step, entry.total, entry.loop_limit, entry.since;

-- name: pool_loads
-- Commands of pools, of all executions, up to a limit of each state. $1 pools, $2 limit
SELECT
    wanted.pool,
    (
        SELECT count(*) FROM (
            SELECT FROM noetl.command AS c
            WHERE c.status = 'PENDING' AND c.pool = wanted.pool
            UNION ALL
            SELECT FROM noetl.command AS c
            WHERE
                c.status IN ('CLAIMED', 'RUNNING')
                AND c.lease_until IS NOT NULL
                AND c.worker_id = ''
                AND c.pool = wanted.pool
            LIMIT $2
        ) AS w
    ) AS waiting,
    (
        SELECT count(*) FROM (
            SELECT FROM noetl.command AS c
            WHERE
                c.status IN ('CLAIMED', 'RUNNING')
                AND c.lease_until IS NOT NULL
                AND c.worker_id IS DISTINCT FROM ''
                AND c.pool = wanted.pool
            LIMIT $2
        ) AS r
    ) AS running
FROM unnest($1::TEXT[]) AS wanted (pool);

-- name: pending_outbox
-- Rows of an execution that are not published. $1 execution id
SELECT count(*) AS pending_outbox, min(o.created_at) AS pending_since
FROM noetl.outbox AS o
WHERE
    o.execution_id = $1
    AND o.status != 'PUBLISHED';
