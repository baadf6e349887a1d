-- Reads of open waits, on the shard's database. Each has a timer row of kind 'wait', written in the
-- commit that begins it and deleted in the one that ends it; its id is that of the wait.

-- list: wait
-- An open wait: its timer, its execution and the event that began it.
SELECT
    e.event_id, e.execution_id, s.path, s.version, e.node_name AS step,
    (e.meta ->> 'iteration_index')::INTEGER AS iteration, e.result -> 'context' AS context,
    e.created_at
FROM noetl.timer AS t
INNER JOIN noetl.execution_state AS s
    ON s.execution_id = t.execution_id
INNER JOIN noetl.event AS e
    ON e.execution_id = t.execution_id
    AND e.event_id = t.timer_id;

-- name: list_waits
-- Open waits, oldest first. $1 only after this wait, $2 execution id or null, $3 path prefix or
-- null, $4 signal or null, $5 kind or null, $6 path prefixes or null for all, $7 limit
SELECT {wait}
FROM noetl.timer AS t
INNER JOIN noetl.execution_state AS s
    ON s.execution_id = t.execution_id
INNER JOIN noetl.event AS e
    ON e.execution_id = t.execution_id
    AND e.event_id = t.timer_id
WHERE
    t.kind = 'wait'
    AND t.timer_id > $1
    AND s.status = 'RUNNING'
    AND ($2::BIGINT IS NULL OR t.execution_id = $2)
    AND (
        $3::TEXT IS NULL
        OR ltrim(s.path, '/') = $3
        OR starts_with(ltrim(s.path, '/'), $3 || '/')
    )
    AND ($4::TEXT IS NULL OR e.result #>> '{context,signal}' = $4)
    AND ($5::TEXT IS NULL OR e.node_type = $5)
    AND (
        $6::TEXT[] IS NULL
        OR EXISTS (
            SELECT 1 FROM unnest($6::TEXT[]) AS reached (stem)
            WHERE ltrim(s.path, '/') = reached.stem
                OR starts_with(ltrim(s.path, '/'), reached.stem || '/')
        )
    )
ORDER BY t.timer_id
LIMIT $7;
