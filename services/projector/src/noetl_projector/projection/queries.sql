-- The read model: moved forward, and rebuilt from states and logs while the system runs (P1, P3).

-- name: add_missing_executions
-- A row at position 0 for each execution that the read model lacks, so that the next statement
-- can lock it; both are one transaction. Each counts for the day of its start. $1 execution ids
-- That transaction doesn't wait for the disk: what a crash of the server undoes is behind its log
-- again, where the sweep finds it.
WITH added AS (
    INSERT INTO noetl.execution (
        execution_id, catalog_id, parent_execution_id, path, status, start_time, position
    )
    SELECT
        s.execution_id, s.catalog_id, s.parent_execution_id, s.path, '', s.started_at, 0
    FROM noetl.execution_state AS s
    CROSS JOIN set_config('synchronous_commit', 'off', TRUE) AS relaxed
    WHERE s.execution_id = ANY($1::BIGINT[])
    ORDER BY s.execution_id
    ON CONFLICT (execution_id) DO NOTHING
    RETURNING (start_time AT TIME ZONE 'UTC')::DATE AS day
),

days AS (
    SELECT a.day, count(*) AS executions
    FROM added AS a
    GROUP BY a.day
)

INSERT INTO noetl.execution_day AS stored (day, executions)
SELECT d.day, d.executions
FROM days AS d
ORDER BY d.day
ON CONFLICT (day) DO UPDATE SET executions = stored.executions + excluded.executions;

-- name: move_executions
-- Moves rows to the position of the state row where that is further, and the counters by the
-- difference. Answers with those that have failed since, and with the positions between which
-- their steps have to be folded, at most $3 of them altogether; fewer than $4 are folded by their
-- readers. A rebuild also rewrites rows at that position, whatever their content (P3).
-- $1 execution ids, $2 also rows at the position of their state
WITH old AS MATERIALIZED (
    SELECT
        e.execution_id, e.path, e.status, e.position,
        CASE WHEN $2::BOOLEAN THEN 0 ELSE e.steps_position END AS steps_position
    FROM noetl.execution AS e
    WHERE e.execution_id = ANY($1::BIGINT[])
    ORDER BY e.execution_id
    FOR UPDATE
),

fresh AS MATERIALIZED (
    SELECT
        s.execution_id, s.catalog_id, s.parent_execution_id, s.path, s.status, s.position,
        s.started_at, s.ended_at, s.error, last.event_id, last.event_type, last.node_name,
        o.path AS old_path, o.status AS old_status, o.position AS old_position,
        o.steps_position AS steps_after,
        CASE WHEN s.position - o.steps_position < $4::BIGINT THEN o.steps_position ELSE least(
                    s.position,
                    o.steps_position + greatest(
                        $3::BIGINT - coalesce(
                            sum(s.position - o.steps_position) OVER (
                                ORDER BY
                                    s.execution_id
                                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                            ), 0
                        ), 0
                    )
                )
        END::BIGINT AS steps_upto
    FROM old AS o
    INNER JOIN noetl.execution_state AS s
        ON s.execution_id = o.execution_id
        AND s.position >= o.position
        AND (s.position > o.position OR s.position - o.steps_position >= $4)
    INNER JOIN noetl.event AS last
        ON last.execution_id = s.execution_id
        AND last.position = s.position
),

moved AS (
    UPDATE noetl.execution AS e
    SET
        catalog_id = f.catalog_id,
        parent_execution_id = f.parent_execution_id,
        path = f.path,
        status = f.status,
        start_time = f.started_at,
        end_time = f.ended_at,
        error = f.error,
        last_event_id = f.event_id,
        last_event_type = f.event_type,
        last_node_name = f.node_name,
        position = f.position,
        steps_position = f.steps_upto,
        updated_at = clock_timestamp()
    FROM fresh AS f
    WHERE e.execution_id = f.execution_id
    RETURNING e.execution_id
),

differences AS (
    SELECT d.path, d.status, sum(d.change) AS change
    FROM (
        SELECT f.path, f.status, 1 AS change FROM fresh AS f
        UNION ALL
        SELECT coalesce(f.old_path, ''), f.old_status, -1 FROM fresh AS f WHERE f.old_position > 0
    ) AS d
    GROUP BY d.path, d.status
    HAVING sum(d.change) != 0
),

counted AS (
    INSERT INTO noetl.execution_counter AS c (path, status, executions)
    SELECT d.path, d.status, d.change FROM differences AS d
    ORDER BY d.path, d.status
    ON CONFLICT (path, status) DO UPDATE SET executions = c.executions + excluded.executions
    RETURNING 1
),

restarted AS (
    UPDATE noetl.failure AS t
    SET restarted_as = r.execution_id
    FROM noetl.restart AS r
    INNER JOIN fresh AS f
        ON f.execution_id = r.execution_id
    WHERE
        t.execution_id = r.origin_execution_id
        AND (t.restarted_as IS NULL OR t.restarted_as < r.execution_id)
)

SELECT
    (SELECT count(*) FROM moved) AS moved,
    (
        SELECT array_agg(f.execution_id)
        FROM fresh AS f
        WHERE
            f.status = 'FAILED'
            AND ($2::BOOLEAN OR f.old_status != 'FAILED')
    ) AS failed,
    (
        SELECT array_agg(ARRAY[f.execution_id, f.steps_after, f.steps_upto] ORDER BY f.execution_id)
        FROM fresh AS f
        WHERE f.steps_upto > f.steps_after
    ) AS steps,
    (
        SELECT array_agg(f.execution_id)
        FROM fresh AS f
        WHERE f.steps_upto < f.position AND f.position - f.steps_after >= $4
    ) AS cut_off;

-- name: read_clock
-- This database's time.
SELECT clock_timestamp();

-- name: find_lagging
-- Executions whose row is behind their log, among those that run or ended lately. Each kind has
-- its index: together they would be looked for among all executions there ever were.
-- $1 ended after, $2 limit
WITH running AS (
    SELECT s.execution_id
    FROM noetl.execution_state AS s
    LEFT JOIN noetl.execution AS e
        ON e.execution_id = s.execution_id
    WHERE
        s.status = 'RUNNING'
        AND (e.position IS NULL OR e.position < s.position)
    ORDER BY s.execution_id
    LIMIT $2
),

ended AS (
    SELECT s.execution_id
    FROM noetl.execution_state AS s
    LEFT JOIN noetl.execution AS e
        ON e.execution_id = s.execution_id
    WHERE
        s.ended_at > $1
        AND (e.position IS NULL OR e.position < s.position)
    ORDER BY s.ended_at
    LIMIT $2
)

SELECT execution_id FROM running
UNION
SELECT execution_id FROM ended
ORDER BY execution_id
LIMIT $2;

-- name: page_executions
-- Executions behind an id, in the order of their ids. $1 after, $2 limit
SELECT s.execution_id
FROM noetl.execution_state AS s
WHERE s.execution_id > $1
ORDER BY s.execution_id
LIMIT $2;

-- name: delete_orphans
-- Rows of executions that are gone, in a range of ids. $1 after, $2 up to
WITH gone AS (
    DELETE FROM noetl.execution AS e
    WHERE
        e.execution_id > $1 AND e.execution_id <= $2
        AND NOT EXISTS (
            SELECT FROM noetl.execution_state AS s WHERE s.execution_id = e.execution_id
        )
    RETURNING e.path, e.status, e.position
),

steps AS (
    DELETE FROM noetl.execution_step AS t
    WHERE
        t.execution_id > $1 AND t.execution_id <= $2
        AND NOT EXISTS (
            SELECT FROM noetl.execution_state AS s WHERE s.execution_id = t.execution_id
        )
),

failures AS (
    DELETE FROM noetl.failure AS t
    WHERE
        t.execution_id > $1 AND t.execution_id <= $2
        AND NOT EXISTS (
            SELECT FROM noetl.execution_state AS s WHERE s.execution_id = t.execution_id
        )
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

-- name: limit_lock_wait
-- The wait for the next lock is short, because writers queue up behind it.
SET LOCAL lock_timeout = '5s';

-- name: lock_rows
-- Rows don't move during the count, and there is one count at a time; readers go on.
LOCK TABLE noetl.execution IN SHARE ROW EXCLUSIVE MODE;

-- name: delete_counters
-- All counters; the same transaction counts again.
WITH days AS (
    DELETE FROM noetl.execution_day
)

DELETE FROM noetl.execution_counter;

-- name: recount
-- Counters from the rows.
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
