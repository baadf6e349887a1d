-- The read model made anew from states and logs while the system runs (design P3).

-- name: read_page
-- Executions behind an id, in the order of their ids. $1 after, $2 limit
SELECT s.execution_id
FROM noetl.execution_state AS s
WHERE s.execution_id > $1
ORDER BY s.execution_id
LIMIT $2;

-- name: delete_orphans
-- Rows of executions that are no more, from one id up to another. $1 after, $2 up to
WITH gone AS (
    DELETE FROM noetl.execution AS e
    WHERE
        e.execution_id > $1 AND e.execution_id <= $2
        AND NOT EXISTS (
            SELECT FROM noetl.execution_state AS s WHERE s.execution_id = e.execution_id
        )
    RETURNING e.path, e.status, e.position
),

counted AS (
    UPDATE noetl.execution_counter AS c
    SET executions = c.executions - g.executions
    FROM (
        SELECT o.path, o.status, count(*) AS executions
        FROM gone AS o
        WHERE o.position > 0
        GROUP BY o.path, o.status
    ) AS g
    WHERE c.path = g.path AND c.status = g.status
)

SELECT count(*) FROM gone;

-- name: lock_models
-- Nobody moves rows while they are counted, and nobody else counts; readers go on.
LOCK TABLE noetl.execution IN SHARE ROW EXCLUSIVE MODE;

-- name: delete_counters
-- All of them, to be counted again in the same transaction.
WITH days AS (
    DELETE FROM noetl.execution_day
)

DELETE FROM noetl.execution_counter;

-- name: count_again
-- The counters as the rows say.
WITH days AS (
    INSERT INTO noetl.execution_day (day, executions)
    SELECT (e.start_time AT TIME ZONE 'UTC')::DATE, count(*)
    FROM noetl.execution AS e
    WHERE e.start_time IS NOT NULL
    GROUP BY 1
)

INSERT INTO noetl.execution_counter (path, status, executions)
SELECT coalesce(e.path, ''), e.status, count(*)
FROM noetl.execution AS e
WHERE e.position > 0
GROUP BY coalesce(e.path, ''), e.status;
