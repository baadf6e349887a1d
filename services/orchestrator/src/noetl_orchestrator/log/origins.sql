-- The origins of restarted executions, on the shard that both are on.

-- name: read_ends
-- The first row of a log and its terminal row. $1 execution id, $2 position of the latter
SELECT {log_row}
FROM noetl.event AS e
WHERE
    e.execution_id = $1::BIGINT
    AND e.position = ANY(ARRAY[1, $2::BIGINT])
ORDER BY e.position;

-- name: note_restart
-- Keeps an origin, and those of its own, for as long as the execution that goes on from it.
-- $1 execution id, $2 origin
INSERT INTO noetl.restart (execution_id, origin_execution_id)
SELECT $1::BIGINT, $2::BIGINT
UNION
SELECT $1::BIGINT, r.origin_execution_id
FROM noetl.restart AS r
WHERE r.execution_id = $2::BIGINT
ON CONFLICT (execution_id, origin_execution_id) DO NOTHING;

-- name: find_origins
-- The origins of an execution. $1 execution id
SELECT r.origin_execution_id
FROM noetl.restart AS r
WHERE r.execution_id = $1::BIGINT;

-- name: read_runs
-- A page of a log: the rows of runs and entries. The context of commands is large, and not needed.
-- $1 execution id, $2 position behind which to begin, $3 last position, $4 limit
SELECT
    e.execution_id, e.position, e.event_id, e.event_type,
    e.created_at AT TIME ZONE 'UTC' AS created_at, e.catalog_id, e.node_id, e.node_name,
    e.node_type, e.status, e.parent_event_id, e.parent_execution_id,
    CASE WHEN e.event_type = 'execution.restored' THEN e.context END AS context,
    e.result, e.meta, e.error, e.worker_id, e.note
FROM noetl.event AS e
WHERE
    e.execution_id = $1::BIGINT
    AND e.position > $2::BIGINT
    AND e.position <= $3::BIGINT
    AND e.event_type IN (
        'step.enter', 'command.issued', 'wait.started', 'command.claimed', 'call.done',
        'call.error', 'command.completed', 'command.failed', 'execution.restored',
        'signal.received'
    )
ORDER BY e.position
LIMIT $4::INTEGER;
