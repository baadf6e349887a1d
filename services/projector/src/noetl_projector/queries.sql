-- Statements of the projector service, on its shard's database.

-- list: state
-- The state row of an execution.
SELECT
    s.execution_id, s.catalog_id, s.path, s.version, s.parent_execution_id, s.status, s.position,
    s.started_at, s.ended_at, s.error, s.total_steps, s.completed_steps, s.running_steps,
    s.failed_steps, s.soft_errors, s.current_step
FROM noetl.execution_state AS s;

-- list: read_row
-- What readers see of a log row.
SELECT
    e.position, e.event_id, e.event_type, e.node_id, e.node_name, e.status, e.created_at,
    e.context, e.result, e.error, e.catalog_id, e.parent_event_id, e.parent_execution_id,
    e.duration
FROM noetl.event AS e;

-- name: probe
-- Whether the database answers.
SELECT 1;

-- name: add_missing_executions
-- A row at position 0 for each execution that the read model lacks, so that the next statement
-- can lock it; both are one transaction. Each counts for the day of its start. $1 execution ids
WITH added AS (
    INSERT INTO noetl.execution (
        execution_id, catalog_id, parent_execution_id, path, status, start_time, position
    )
    SELECT
        s.execution_id, s.catalog_id, s.parent_execution_id, s.path, '', s.started_at, 0
    FROM noetl.execution_state AS s
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
-- difference. A rebuild also writes rows anew that are there already, whatever they hold (P3).
-- $1 execution ids, $2 also rows at the position of their state
WITH old AS MATERIALIZED (
    SELECT e.execution_id, e.path, e.status, e.position
    FROM noetl.execution AS e
    WHERE e.execution_id = ANY($1::BIGINT[])
    ORDER BY e.execution_id
    FOR UPDATE
),

fresh AS MATERIALIZED (
    SELECT
        s.execution_id, s.catalog_id, s.parent_execution_id, s.path, s.status, s.position,
        s.started_at, s.ended_at, s.error, last.event_id, last.event_type, last.node_name,
        o.path AS old_path, o.status AS old_status, o.position AS old_position
    FROM old AS o
    INNER JOIN noetl.execution_state AS s
        ON s.execution_id = o.execution_id
        AND (s.position > o.position OR ($2::BOOLEAN AND s.position = o.position))
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
)

SELECT count(*) FROM moved;

-- name: read_clock
-- This database's time.
SELECT clock_timestamp();

-- name: find_lagging
-- Executions whose row is behind their log, of those that run and those that ended lately.
-- $1 ended after, $2 limit
SELECT s.execution_id
FROM noetl.execution_state AS s
LEFT JOIN noetl.execution AS e
    ON e.execution_id = s.execution_id
WHERE
    (s.status = 'RUNNING' OR s.ended_at > $1)
    AND (e.position IS NULL OR e.position < s.position)
ORDER BY s.execution_id
LIMIT $2;

-- name: find_state
-- The state row of an execution. $1 execution id
SELECT {state}
FROM noetl.execution_state AS s
WHERE s.execution_id = $1;

-- name: find_log
-- The ends of a log that no playbook wrote: of a subscription, of projected events. $1 execution id
SELECT
    first.execution_id, first.catalog_id, coalesce(first.node_name, '') AS path,
    first.parent_execution_id, last.position, last.event_type,
    first.created_at AT TIME ZONE 'UTC' AS started_at,
    last.created_at AT TIME ZONE 'UTC' AS ended_at
FROM noetl.event AS first
CROSS JOIN
    LATERAL (
        SELECT e.position, e.event_type, e.created_at
        FROM noetl.event AS e
        WHERE e.execution_id = first.execution_id
        ORDER BY e.position DESC
        LIMIT 1
    ) AS last
WHERE first.execution_id = $1 AND first.position = 1;

-- name: list_states
-- Executions, newest first. $1 catalog id or null, $2 part of a path or null (in any case),
-- $3 status or null, $4 limit, $5 offset
SELECT {state}
FROM noetl.execution_state AS s
WHERE
    ($1::BIGINT IS NULL OR s.catalog_id = $1)
    AND ($2::TEXT IS NULL OR strpos(lower(s.path), lower($2)) > 0)
    AND ($3::TEXT IS NULL OR s.status = $3)
ORDER BY s.started_at DESC, s.execution_id DESC
LIMIT $4 OFFSET $5;

-- name: read_after
-- Rows of a log after a position, ascending. $1 execution id, $2 position, $3 limit
SELECT {read_row}
FROM noetl.event AS e
WHERE e.execution_id = $1 AND e.position > $2
ORDER BY e.position
LIMIT $3;

-- name: find_position
-- The position behind which a reader goes on who has seen an event. An id that the log lacks was
-- rounded by a browser: before the first row above the rounding, and the log's end if there is
-- none. $1 execution id, $2 event id, $3 rounding
SELECT coalesce(
    (SELECT e.position FROM noetl.event AS e WHERE e.execution_id = $1 AND e.event_id = $2),
    (
        SELECT min(e.position) - 1 FROM noetl.event AS e
        WHERE e.execution_id = $1 AND e.event_id > $2 - $3
    ),
    (SELECT s.position FROM noetl.execution_state AS s WHERE s.execution_id = $1),
    0
) AS position;

-- name: read_page
-- A page of a log, descending. $1 execution id, $2 ids above this or null, $3 type or null,
-- $4 limit, $5 offset
SELECT {read_row}
FROM noetl.event AS e
WHERE
    e.execution_id = $1
    AND ($2::BIGINT IS NULL OR e.event_id > $2)
    AND ($3::TEXT IS NULL OR e.event_type = $3)
ORDER BY e.position DESC
LIMIT $4 OFFSET $5;

-- name: count_page
-- How many rows a page is cut from. $1 execution id, $2 ids above this or null, $3 type or null
SELECT count(*)
FROM noetl.event AS e
WHERE
    e.execution_id = $1
    AND ($2::BIGINT IS NULL OR e.event_id > $2)
    AND ($3::TEXT IS NULL OR e.event_type = $3);

-- name: read_start
-- What an execution was started with. $1 execution id
SELECT e.context -> 'workload' AS workload
FROM noetl.event AS e
WHERE e.execution_id = $1 AND e.position = 1;

-- name: read_last_result
-- The data of the last call. $1 execution id, $2 position of the log's end. Only the end of the
-- log is looked at: behind the last call there is hardly more than its completion and the end.
SELECT e.result #> '{context,result,context,data}' AS data
FROM noetl.event AS e
WHERE
    e.execution_id = $1
    AND e.position > $2 - 50
    AND e.event_type = 'call.done'
    AND coalesce(e.meta ->> 'late', 'false') != 'true'
ORDER BY e.position DESC
LIMIT 1;

-- name: find_status
-- The state row of an execution, nulls without one, and the names of the steps that ended in the
-- order in which they did; those with an open command are not among them. $1 execution id, $2 limit
-- of names, of which the newest stay. The newest rows of the log are looked at, not all of them.
-- One statement, so that all of it is of one moment.
-- Each part is one pass: joined row by row, a loop's events times its commands would be looked at.
WITH newest AS MATERIALIZED (
    SELECT
        e.node_name, e.event_type, e.position,
        coalesce(e.meta ->> 'late', 'false') = 'true' AS is_late
    FROM noetl.event AS e
    WHERE e.execution_id = $1
    ORDER BY e.position DESC
    LIMIT 20000
),

ended AS MATERIALIZED (
    SELECT n.node_name, max(n.position) AS position
    FROM newest AS n
    WHERE
        n.node_name IS NOT NULL
        AND n.event_type IN ('command.completed', 'step.exit')
        AND NOT n.is_late
    GROUP BY n.node_name
),

open AS MATERIALIZED (
    SELECT DISTINCT c.step_name
    FROM noetl.command AS c
    WHERE c.execution_id = $1 AND c.status IN ('PENDING', 'CLAIMED', 'RUNNING')
),

named AS (
    SELECT e.node_name, e.position
    FROM ended AS e
    WHERE NOT EXISTS (SELECT 1 FROM open AS o WHERE o.step_name = e.node_name)
    ORDER BY e.position DESC
    LIMIT $2
)

SELECT
    {state},
    array(SELECT n.node_name FROM named AS n ORDER BY n.position) AS names
FROM (VALUES ($1::BIGINT)) AS asked (execution_id)
LEFT JOIN noetl.execution_state AS s
    ON s.execution_id = asked.execution_id;

-- name: read_expected_iterations
-- How many commands a looped start generates; no row without a loop. $1 execution id
SELECT (e.result #>> '{context,iterations_expected}')::INTEGER AS expected
FROM noetl.event AS e
WHERE e.execution_id = $1 AND e.position = 2 AND e.event_type = 'step.enter';

-- name: find_command
-- The issued command of an event id. $1 event id, $2 execution id or null
SELECT e.execution_id, e.node_name, e.node_type, e.context, e.meta
FROM noetl.command AS c
INNER JOIN noetl.event AS e
    ON e.execution_id = c.execution_id
    AND e.event_id = c.event_id
WHERE c.event_id = $1 AND ($2::BIGINT IS NULL OR c.execution_id = $2)
LIMIT 1;

-- name: find_issued
-- The same by the log alone: rows of commands go earlier than it. $1 and $2 as above
SELECT e.execution_id, e.node_name, e.node_type, e.context, e.meta
FROM noetl.event AS e
WHERE
    e.event_id = $1
    AND e.event_type = 'command.issued'
    AND ($2::BIGINT IS NULL OR e.execution_id = $2)
LIMIT 1;

-- name: insert_result
-- Keeps a result, and with it its body; the same id again is the same result.
-- $1 id, $2 execution id, $3 name, $4 scope, $5 step, $6 data as text or null, $7 bytes,
-- $8 sha256, $9 store, $10 location or null, $11 seconds until it is deleted or null
WITH kept AS (
    INSERT INTO noetl.result_store (
        result_id, execution_id, name, scope, source_step, data, bytes, sha256, store, location,
        expires_at
    )
    VALUES (
        $1, $2, $3, $4, $5, ($6::TEXT)::JSONB, $7, $8, $9, $10,
        now() + make_interval(secs => $11)
    )
    ON CONFLICT (result_id) DO NOTHING
    RETURNING store, location
)

DELETE FROM noetl.result_body_removal AS d
USING kept
WHERE d.store = kept.store AND d.location = kept.location;

-- name: delete_expired_results
-- Deletes results whose time is over; their bodies go with them. $1 most
WITH expired AS (
    SELECT r.result_id
    FROM noetl.result_store AS r
    WHERE r.expires_at <= now()
    ORDER BY r.expires_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
),

deleted AS (
    DELETE FROM noetl.result_store AS r
    USING expired
    WHERE r.result_id = expired.result_id
    RETURNING r.result_id
)

SELECT count(*) AS deleted
FROM deleted;

-- name: announce_body
-- Says that a body is about to be written: without a result it goes again.
-- $1 store, $2 location, $3 seconds until then
INSERT INTO noetl.result_body_removal AS r (store, location, due_at)
VALUES ($1, $2, now() + make_interval(secs => $3))
ON CONFLICT (store, location) DO UPDATE
    SET due_at = greatest(r.due_at, excluded.due_at);

-- name: forget_removal
-- $1 store, $2 location
DELETE FROM noetl.result_body_removal
WHERE store = $1 AND location = $2;

-- name: keep_named_bodies
-- Forgets what is due but named by a result.
DELETE FROM noetl.result_body_removal AS d
USING noetl.result_store AS r
WHERE d.due_at <= now() AND r.store = d.store AND r.location = d.location;

-- name: take_removals
-- Bodies due for removal, put off for whoever comes next. $1 most
WITH due AS (
    SELECT d.store, d.location
    FROM noetl.result_body_removal AS d
    WHERE
        d.due_at <= now()
        AND NOT EXISTS (
            SELECT FROM noetl.result_store AS r
            WHERE r.store = d.store AND r.location = d.location
        )
    ORDER BY d.due_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)

UPDATE noetl.result_body_removal AS d
SET
    tries = d.tries + 1,
    due_at = now() + least(INTERVAL '1 hour', INTERVAL '1 minute' * power(2, least(d.tries, 6)))
FROM due
WHERE d.store = due.store AND d.location = due.location
RETURNING d.store, d.location;

-- name: find_result
-- A result's data as text, or where it lies. $1 execution id, $2 name, $3 result id
SELECT r.data::TEXT AS data, r.store, r.location, r.bytes, r.sha256
FROM noetl.result_store AS r
WHERE r.execution_id = $1 AND r.name = $2 AND r.result_id = $3;

-- name: find_newest_result
-- The newest result of a name. $1 execution id, $2 name
SELECT
    r.result_id, r.name, r.scope, r.source_step, r.bytes, r.sha256, r.created_at,
    r.data::TEXT AS data, r.store, r.location
FROM noetl.result_store AS r
WHERE r.execution_id = $1 AND r.name = $2
ORDER BY r.result_id DESC
LIMIT 1;
