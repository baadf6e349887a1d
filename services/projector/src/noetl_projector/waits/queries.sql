-- Reads of open waits, on the shard's database. Each has a timer row of kind 'wait', written in the
-- commit that begins it and deleted in the commit that ends it; its id is that of the wait.

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

-- There is a statement for each kind of filter, whose plan holds for all its values. Timers of
-- sleeps have the signal ''.

-- name: list
-- each: list_all wanted = true
-- each: list_for_signals wanted = t.payload ->> 'signal' != ''
-- each: list_for_signal wanted = t.payload ->> 'signal' = $5
-- Open waits, oldest first: all, those for a signal, and those for one (or sleeps). $1 only after
-- this wait, $2 pattern of paths with a slash or null, $3 the same, any of several or null for all,
-- $4 limit, $5 signal, '' for sleeps
SELECT {wait}
FROM noetl.timer AS t
CROSS JOIN
    LATERAL (
        SELECT x.path, x.version FROM noetl.execution_state AS x
        WHERE x.execution_id = t.execution_id AND x.status = 'RUNNING'
        LIMIT 1
    ) AS s
CROSS JOIN
    LATERAL (
        SELECT x.* FROM noetl.event AS x
        WHERE x.execution_id = t.execution_id AND x.event_id = t.timer_id
        LIMIT 1
    ) AS e
WHERE
    t.kind = 'wait'
    AND t.timer_id > $1
    AND {wanted}
    AND ($2::TEXT IS NULL OR ltrim(s.path, '/') || '/' LIKE $2)
    AND ($3::TEXT[] IS NULL OR ltrim(s.path, '/') || '/' LIKE ANY($3))
ORDER BY t.timer_id
LIMIT $4;

-- name: list_of
-- The same of some executions. $1, $2, $3, $4 as above, $5 executions, $6 signal or null,
-- $7 whether for signals, or sleeps, or null for both
SELECT {wait}
FROM noetl.timer AS t
CROSS JOIN
    LATERAL (
        SELECT x.path, x.version FROM noetl.execution_state AS x
        WHERE x.execution_id = t.execution_id AND x.status = 'RUNNING'
        LIMIT 1
    ) AS s
CROSS JOIN
    LATERAL (
        SELECT x.* FROM noetl.event AS x
        WHERE x.execution_id = t.execution_id AND x.event_id = t.timer_id
        LIMIT 1
    ) AS e
WHERE
    t.kind = 'wait'
    AND t.timer_id > $1
    AND t.execution_id = ANY($5::BIGINT[])
    AND ($6::TEXT IS NULL OR t.payload ->> 'signal' = $6)
    AND ($7::BOOLEAN IS NULL OR (t.payload ->> 'signal' != '') = $7)
    AND ($2::TEXT IS NULL OR ltrim(s.path, '/') || '/' LIKE $2)
    AND ($3::TEXT[] IS NULL OR ltrim(s.path, '/') || '/' LIKE ANY($3))
ORDER BY t.timer_id
LIMIT $4;

-- name: find_open
-- Executions that run below some paths, of which there may be few among many that wait; the paths
-- that there are come from the index, one look-up each. $1 pattern of paths with a slash or null,
-- $2 the same, any of several or null for all, $3 limit
WITH RECURSIVE known AS (
    (
        SELECT s.path FROM noetl.execution_state AS s
        ORDER BY s.path
        LIMIT 1
    )
    UNION ALL
    SELECT f.path
    FROM known AS k
    CROSS JOIN LATERAL (
        SELECT s.path FROM noetl.execution_state AS s
        WHERE s.path > k.path
        ORDER BY s.path
        LIMIT 1
    ) AS f
)

SELECT o.execution_id
FROM known AS k
CROSS JOIN
    LATERAL (
        SELECT s.execution_id FROM noetl.execution_state AS s
        WHERE s.path = k.path AND s.status = 'RUNNING'
        LIMIT $3
    ) AS o
WHERE
    ($1::TEXT IS NULL OR ltrim(k.path, '/') || '/' LIKE $1)
    AND ($2::TEXT[] IS NULL OR ltrim(k.path, '/') || '/' LIKE ANY($2))
LIMIT $3;
