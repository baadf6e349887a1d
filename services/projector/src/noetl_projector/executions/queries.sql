-- Reads of executions, their events and their commands, on the shard's database.

-- list: state
-- The state row of an execution.
SELECT
    s.execution_id, s.catalog_id, s.path, s.version, s.parent_execution_id, s.status, s.position,
    s.started_at, s.ended_at, s.error, s.total_steps, s.completed_steps, s.running_steps,
    s.failed_steps, s.soft_errors, s.current_step, s.cause, s.soft_error,
    s.status = 'RUNNING' AND EXISTS (
        SELECT FROM noetl.timer AS p
        WHERE p.execution_id = s.execution_id AND p.kind = 'pause'
    ) AS paused
FROM noetl.execution_state AS s;

-- list: read_row
-- What readers see of a log row, and the stored size of its bodies (context and result), which is
-- known without reading them. Commands have their context where it was asked for.
SELECT
    e.position, e.event_id, e.event_type, e.node_id, e.node_name, e.status, e.created_at,
    CASE
        WHEN asked.has_commands OR e.event_type != 'command.issued' THEN e.context
    END AS context,
    e.result,
    coalesce(pg_column_size(e.result), 0)
    + CASE
        WHEN asked.has_commands OR e.event_type != 'command.issued'
            THEN coalesce(pg_column_size(e.context), 0)
        ELSE 0
    END AS weight,
    e.error, e.catalog_id, e.parent_event_id, e.parent_execution_id,
    e.duration, CASE WHEN e.event_type LIKE '%.failed' THEN e.meta -> 'cause' END AS cause
FROM noetl.event AS e
CROSS JOIN (VALUES (TRUE)) AS asked (has_commands);

-- list: shown_row
-- The same of a row that was read, but for its bodies.
SELECT
    e.position, e.event_id, e.event_type, e.node_id, e.node_name, e.status, e.created_at,
    e.weight, e.error, e.catalog_id, e.parent_event_id, e.parent_execution_id, e.duration, e.cause
FROM noetl.event AS e;

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
-- $3 status or null, $4 limit, $5 offset, $6 path prefixes or null for all
SELECT {state}
FROM noetl.execution_state AS s
WHERE
    ($1::BIGINT IS NULL OR s.catalog_id = $1)
    AND ($2::TEXT IS NULL OR strpos(lower(s.path), lower($2)) > 0)
    AND ($3::TEXT IS NULL OR s.status = $3)
    AND (
        $6::TEXT[] IS NULL
        OR EXISTS (
            SELECT 1 FROM unnest($6::TEXT[]) AS reached (stem)
            WHERE ltrim(s.path, '/') = reached.stem
                OR starts_with(ltrim(s.path, '/'), reached.stem || '/')
        )
    )
ORDER BY s.started_at DESC, s.execution_id DESC
LIMIT $4 OFFSET $5;

-- name: read_after
-- Rows of a log after a position, ascending. Their bodies come as text, from the newest row on as
-- far as their stored sizes come to $4 together.
-- $1 execution id, $2 position, $3 limit, $4 bytes, $5 whether commands have their context
SELECT
    {shown_row},
    e.reach <= $4 AS is_whole,
    CASE WHEN e.reach <= $4 THEN e.context::TEXT END AS context,
    CASE WHEN e.reach <= $4 THEN e.result::TEXT END AS result
FROM
    (
        SELECT
            {shown_row}, e.context, e.result,
            sum(e.weight) OVER (
                ORDER BY e.position ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
            ) AS reach
        FROM
            (
                SELECT {read_row}
                FROM noetl.event AS e
                CROSS JOIN (VALUES ($5::BOOLEAN)) AS asked (has_commands)
                WHERE e.execution_id = $1 AND e.position > $2
                ORDER BY e.position
                LIMIT $3
            ) AS e
    ) AS e
ORDER BY e.position;

-- name: read_bodies
-- Bodies of rows, as text. $1 execution id, $2 positions
SELECT e.position, e.context::TEXT AS context, e.result::TEXT AS result
FROM noetl.event AS e
WHERE e.execution_id = $1 AND e.position = ANY($2::BIGINT[]);

-- name: find_position
-- The position after an event that a reader has seen. An id that the log lacks was
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
-- $4 limit, $5 offset, $6 bytes of bodies as above, $7 whether commands have their context
SELECT
    {shown_row},
    e.reach <= $6 AS is_whole,
    CASE WHEN e.reach <= $6 THEN e.context::TEXT END AS context,
    CASE WHEN e.reach <= $6 THEN e.result::TEXT END AS result
FROM
    (
        SELECT
            {shown_row}, e.context, e.result,
            sum(e.weight) OVER (
                ORDER BY e.position DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS reach
        FROM
            (
                SELECT {read_row}
                FROM noetl.event AS e
                CROSS JOIN (VALUES ($7::BOOLEAN)) AS asked (has_commands)
                WHERE
                    e.execution_id = $1
                    AND ($2::BIGINT IS NULL OR e.event_id > $2)
                    AND ($3::TEXT IS NULL OR e.event_type = $3)
                ORDER BY e.position DESC
                LIMIT $4 OFFSET $5
            ) AS e
    ) AS e
ORDER BY e.position DESC;

-- name: count_page
-- How many rows a page is cut from. $1 execution id, $2 ids above this or null, $3 type or null
SELECT count(*)
FROM noetl.event AS e
WHERE
    e.execution_id = $1
    AND ($2::BIGINT IS NULL OR e.event_id > $2)
    AND ($3::TEXT IS NULL OR e.event_type = $3);

-- name: read_start
-- The workload of an execution. $1 execution id
SELECT e.context -> 'workload' AS workload
FROM noetl.event AS e
WHERE e.execution_id = $1 AND e.position = 1;

-- name: read_origin
-- The workload of an execution, and the pool that its start named. $1 execution id
SELECT
    e.context -> 'workload' AS workload,
    e.meta ->> 'execution_pool' AS execution_pool
FROM noetl.event AS e
WHERE e.execution_id = $1 AND e.position = 1;

-- name: read_origins
-- What a restarted execution goes on from, its origins' own included. $1 execution id
SELECT r.origin_execution_id
FROM noetl.restart AS r
WHERE r.execution_id = $1
ORDER BY r.origin_execution_id;

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
-- order in which they did; those with an open command are not among them. They are the rows of the
-- read model with what the log holds behind it, of which the newest rows are looked at. `behind`
-- says how many rows the model lacks.
-- One statement, so that all of it is of one moment. $1 execution id, $2 limit of names, of which
-- the newest stay
WITH place AS MATERIALIZED (
    SELECT
        coalesce(
            (SELECT x.steps_position FROM noetl.execution AS x WHERE x.execution_id = $1), 0
        ) AS steps_position
),

seen AS MATERIALIZED (
    SELECT {step_row}
    FROM
        (
            SELECT n.*
            FROM noetl.event AS n
            WHERE n.execution_id = $1 AND n.position > (SELECT p.steps_position FROM place AS p)
            ORDER BY n.position DESC
            LIMIT 20000
        ) AS e
    WHERE
        e.event_type IN (
            'step.enter', 'step.exit', 'step.skipped', 'command.issued', 'wait.started',
            'command.claimed', 'command.started', 'command.completed', 'command.failed',
            'call.done', 'playbook.failed', 'playbook_failed', 'workflow.failed'
        )
        AND (e.event_type != 'call.done' OR e.note ? 'callback')
        AND (
            e.event_type IN ('command.completed', 'step.exit')
            OR coalesce(e.note ? 'inert', FALSE) = FALSE
        )
        AND coalesce(e.meta ->> 'late', 'false') != 'true'
),

kept AS MATERIALIZED (
    SELECT {step_column}
    FROM noetl.execution_step AS f
    WHERE f.execution_id = $1 AND f.position <= (SELECT p.steps_position FROM place AS p)
),

items AS (
    SELECT {step_item}
    FROM seen AS r
    WHERE octet_length(r.step) BETWEEN 1 AND 1024
    UNION ALL
    SELECT {step_kept}
    FROM kept AS k
    WHERE k.step IN (SELECT s.step FROM seen AS s)
),

marked AS (
    SELECT {step_marked}
    FROM items AS i
),

steps AS (
    SELECT {step_fold}
    FROM marked AS m
    GROUP BY m.execution_id, m.step
    UNION ALL
    SELECT {step_column}
    FROM kept AS f
    WHERE f.step NOT IN (SELECT s.step FROM seen AS s WHERE s.step IS NOT NULL)
),

named AS (
    SELECT e.step, e.ended_position
    FROM steps AS e
    LEFT JOIN noetl.execution_state AS s
        ON s.execution_id = $1
    WHERE e.ended_position > 0 AND (e.open <= 0 OR s.status != 'RUNNING')
    ORDER BY e.ended_position DESC
    LIMIT $2
)

SELECT
    {state},
    s.position - p.steps_position AS behind,
    array(SELECT n.step FROM named AS n ORDER BY n.ended_position) AS names
FROM place AS p
LEFT JOIN noetl.execution_state AS s
    ON s.execution_id = $1;

-- name: list_statuses
-- $1 execution ids
SELECT s.execution_id, s.status
FROM noetl.execution_state AS s
WHERE s.execution_id = ANY($1::BIGINT[]);

-- name: read_expected_iterations
-- How many commands a looped start generates; no row without a loop. $1 execution id
SELECT (e.result #>> '{context,iterations_expected}')::INTEGER AS expected
FROM noetl.event AS e
WHERE e.execution_id = $1 AND e.position = 2 AND e.event_type = 'step.enter';

-- name: find_command
-- The issued command of an event id. $1 event id, $2 execution id or null
SELECT
    e.execution_id, e.node_name AS node_id, e.node_name, e.node_type AS action, e.context, e.meta
FROM noetl.command AS c
INNER JOIN noetl.event AS e
    ON e.execution_id = c.execution_id
    AND e.event_id = c.event_id
WHERE c.event_id = $1 AND ($2::BIGINT IS NULL OR c.execution_id = $2)
LIMIT 1;

-- name: find_issued
-- The same from the log alone, whose rows outlive those of commands. $1 event id,
-- $2 execution id or null
SELECT
    e.execution_id, e.node_name AS node_id, e.node_name, e.node_type AS action, e.context, e.meta
FROM noetl.event AS e
WHERE
    e.event_id = $1
    AND e.event_type = 'command.issued'
    AND ($2::BIGINT IS NULL OR e.execution_id = $2)
LIMIT 1;

-- name: find_standing
-- Whether a command is not over yet, and the path of its execution. $1 event id, $2 execution id
-- or null
SELECT
    c.status IN ('PENDING', 'CLAIMED', 'RUNNING') AS is_open,
    s.path
FROM noetl.command AS c
INNER JOIN noetl.execution_state AS s
    ON c.execution_id = s.execution_id
WHERE c.event_id = $1 AND ($2::BIGINT IS NULL OR c.execution_id = $2)
LIMIT 1;

-- name: find_event
-- The event of an id; ids repeat between executions, so it is the newest one. $1 event id
SELECT
    e.execution_id, e.event_id, e.event_type, e.node_name,
    coalesce(e.status, 'UNKNOWN') AS status, e.result, e.error, e.created_at
FROM noetl.event AS e
WHERE e.event_id = $1
ORDER BY e.created_at DESC
LIMIT 1;

-- name: find_batch_key
-- The key under which a batch of events was sent. $1 execution id, $2 id of one of its events
SELECT r.key
FROM noetl.request_key AS r
WHERE
    r.scope = 'events:' || $1::BIGINT
    AND r.answer -> 'event_ids' @> to_jsonb($2::BIGINT)
LIMIT 1;

-- name: find_stuck
-- Executions that run for longer, oldest first; those that wait for somebody, or are paused, are
-- left alone.
-- $1 minutes, $2 limit
SELECT s.execution_id
FROM noetl.execution_state AS s
WHERE
    s.status = 'RUNNING'
    AND s.started_at < clock_timestamp() - make_interval(mins => $1::INTEGER)
    AND NOT EXISTS (
        SELECT FROM noetl.timer AS t
        WHERE t.execution_id = s.execution_id AND t.kind IN ('wait', 'pause')
    )
ORDER BY s.started_at, s.execution_id
LIMIT $2;
