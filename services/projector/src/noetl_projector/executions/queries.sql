-- Reads of executions, their events and their commands, on the shard's database.

-- list: state
-- The state row of an execution.
SELECT
    s.execution_id, s.catalog_id, s.path, s.version, s.parent_execution_id, s.status, s.position,
    s.started_at, s.ended_at, s.error, s.total_steps, s.completed_steps, s.running_steps,
    s.failed_steps, s.soft_errors, s.current_step, s.cause, s.soft_error,
    -- A single row, so that no plan reads all timers beforehand.
    s.status = 'RUNNING' AND coalesce((
        SELECT TRUE FROM noetl.timer AS p
        WHERE p.execution_id = s.execution_id AND p.kind = 'pause'
        LIMIT 1
    ), FALSE) AS paused
FROM noetl.execution_state AS s;

-- list: read_row
-- A log row as readers see it, with the stored size of its bodies (context and result), which needs
-- no read of them. Commands have their context where it was asked for.
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

-- Lists of executions have a statement for each kind of filter, whose plan holds for all values of
-- it. Each is read from an index in the order of the list; rows come last, for one page only.

-- name: find_place
-- The start time of the execution after which a page begins. $1 execution id
SELECT s.started_at
FROM noetl.execution_state AS s
WHERE s.execution_id = $1;

-- name: newest
-- each: list_newest wanted = true
-- each: list_of_status wanted = s.status = $5
-- Executions, all or those with a status, newest first. $1 and $2 begin and id of the one before
-- the page, or nulls, $3 limit, $4 offset, $5 status
WITH page AS MATERIALIZED (
    SELECT s.started_at, s.execution_id
    FROM noetl.execution_state AS s
    WHERE
        {wanted}
        AND (s.started_at, s.execution_id) < (
            coalesce($1::TIMESTAMPTZ, 'infinity'), coalesce($2::BIGINT, 9223372036854775807)
        )
    ORDER BY s.started_at DESC, s.execution_id DESC
    LIMIT $3 OFFSET $4
)

SELECT {state}
FROM page AS p
CROSS JOIN
    LATERAL (
        SELECT s.* FROM noetl.execution_state AS s
        WHERE s.execution_id = p.execution_id
        LIMIT 1
    ) AS s
ORDER BY p.started_at DESC, p.execution_id DESC;

-- name: list_of_parent
-- Children of an execution, newest first. $1, $2, $3, $4 as above, $5 the parent, $6 statuses,
-- $7 catalog id or null, $8 part of a path or null (in any case), $9 patterns of
-- paths with a slash or null for all; what these leave out of the children is read, too
WITH wanted AS MATERIALIZED (
    SELECT unnest($6::TEXT[]) AS status
),

page AS MATERIALIZED (
    SELECT f.started_at, f.execution_id
    FROM wanted AS w
    CROSS JOIN
        LATERAL (
            SELECT s.started_at, s.execution_id
            FROM noetl.execution_state AS s
            WHERE
                s.parent_execution_id = $5
                AND s.status = w.status
                AND (s.started_at, s.execution_id) < (
                    coalesce($1::TIMESTAMPTZ, 'infinity'), coalesce($2::BIGINT, 9223372036854775807)
                )
                AND ($7::BIGINT IS NULL OR s.catalog_id = $7)
                AND ($8::TEXT IS NULL OR strpos(lower(s.path), lower($8)) > 0)
                AND ($9::TEXT[] IS NULL OR ltrim(s.path, '/') || '/' LIKE ANY($9))
            ORDER BY s.started_at DESC, s.execution_id DESC
            LIMIT $3::BIGINT + $4::BIGINT
        ) AS f
    ORDER BY f.started_at DESC, f.execution_id DESC
    LIMIT $3 OFFSET $4
)

SELECT {state}
FROM page AS p
CROSS JOIN
    LATERAL (
        SELECT s.* FROM noetl.execution_state AS s
        WHERE s.execution_id = p.execution_id
        LIMIT 1
    ) AS s
ORDER BY p.started_at DESC, p.execution_id DESC;

-- name: list_of_catalog
-- Executions of a version of a playbook, newest first. $1, $2, $3, $4 as above, $5 catalog id,
-- $6 statuses, $7 part of a path or null (in any case), $8 patterns of paths with a slash or null
-- for all. One version has one path, so that none is read where the first has another.
WITH first AS MATERIALIZED (
    SELECT s.path FROM noetl.execution_state AS s
    WHERE s.catalog_id = $5
    LIMIT 1
),

page AS MATERIALIZED (
    SELECT f.started_at, f.execution_id
    FROM first
    CROSS JOIN unnest($6::TEXT[]) AS w (status)
    CROSS JOIN
        LATERAL (
            SELECT s.started_at, s.execution_id
            FROM noetl.execution_state AS s
            WHERE
                s.catalog_id = $5
                AND s.status = w.status
                AND (s.started_at, s.execution_id) < (
                    coalesce($1::TIMESTAMPTZ, 'infinity'), coalesce($2::BIGINT, 9223372036854775807)
                )
                AND ($7::TEXT IS NULL AND $8::TEXT[] IS NULL OR s.path = first.path)
            ORDER BY s.started_at DESC, s.execution_id DESC
            LIMIT $3::BIGINT + $4::BIGINT
        ) AS f
    WHERE
        ($7::TEXT IS NULL OR strpos(lower(first.path), lower($7)) > 0)
        AND ($8::TEXT[] IS NULL OR ltrim(first.path, '/') || '/' LIKE ANY($8))
    ORDER BY f.started_at DESC, f.execution_id DESC
    LIMIT $3 OFFSET $4
)

SELECT {state}
FROM page AS p
CROSS JOIN
    LATERAL (
        SELECT s.* FROM noetl.execution_state AS s
        WHERE s.execution_id = p.execution_id
        LIMIT 1
    ) AS s
ORDER BY p.started_at DESC, p.execution_id DESC;

-- name: near
-- each: list_near wanted = true
-- each: list_near_of_status wanted = s.status = $8
-- Executions whose paths match, among the next ones of all or with a status. $1, $2, $3, $4 as
-- above, $5 part of a path or null (in any case), $6 patterns of paths with a slash or null for
-- all, $7 how many are looked at, $8 status. One row without an execution where none is found.
WITH near AS MATERIALIZED (
    SELECT s.started_at, s.execution_id, s.path
    FROM noetl.execution_state AS s
    WHERE
        {wanted}
        AND (s.started_at, s.execution_id) < (
            coalesce($1::TIMESTAMPTZ, 'infinity'), coalesce($2::BIGINT, 9223372036854775807)
        )
    ORDER BY s.started_at DESC, s.execution_id DESC
    LIMIT $7
),

page AS MATERIALIZED (
    SELECT n.started_at, n.execution_id
    FROM near AS n
    WHERE
        ($5::TEXT IS NULL OR strpos(lower(n.path), lower($5)) > 0)
        AND ($6::TEXT[] IS NULL OR ltrim(n.path, '/') || '/' LIKE ANY($6))
    ORDER BY n.started_at DESC, n.execution_id DESC
    LIMIT $3 OFFSET $4
)

SELECT {state}, looked.at AS looked_at
FROM (SELECT count(*) AS at FROM near) AS looked
LEFT JOIN page AS p ON TRUE
LEFT JOIN LATERAL (
    SELECT s.* FROM noetl.execution_state AS s
    WHERE s.execution_id = p.execution_id
    LIMIT 1
) AS s ON TRUE
ORDER BY p.started_at DESC, p.execution_id DESC;

-- name: list_soft
-- Completed executions in which a step ended with an error, among the next completed ones.
-- $1, $2, $3, $4 as above, $5 part of a path or null (in any case), $6 patterns of paths with a
-- slash or null for all, $7 catalog id or null, $8 the parent or null, $9 how many are looked at
WITH near AS MATERIALIZED (
    SELECT
        s.started_at, s.execution_id, s.path, s.catalog_id, s.parent_execution_id, s.soft_errors
    FROM noetl.execution_state AS s
    WHERE
        s.status = 'COMPLETED'
        AND (s.started_at, s.execution_id) < (
            coalesce($1::TIMESTAMPTZ, 'infinity'), coalesce($2::BIGINT, 9223372036854775807)
        )
    ORDER BY s.started_at DESC, s.execution_id DESC
    LIMIT $9
),

page AS MATERIALIZED (
    SELECT n.started_at, n.execution_id
    FROM near AS n
    WHERE
        n.soft_errors > 0
        AND ($5::TEXT IS NULL OR strpos(lower(n.path), lower($5)) > 0)
        AND ($6::TEXT[] IS NULL OR ltrim(n.path, '/') || '/' LIKE ANY($6))
        AND ($7::BIGINT IS NULL OR n.catalog_id = $7)
        AND ($8::BIGINT IS NULL OR n.parent_execution_id = $8)
    ORDER BY n.started_at DESC, n.execution_id DESC
    LIMIT $3 OFFSET $4
)

SELECT {state}
FROM page AS p
CROSS JOIN
    LATERAL (
        SELECT s.* FROM noetl.execution_state AS s
        WHERE s.execution_id = p.execution_id
        LIMIT 1
    ) AS s
ORDER BY p.started_at DESC, p.execution_id DESC;

-- name: list_of_paths
-- Executions whose paths match, newest first. $1, $2, $3, $4 as above, $5 statuses, $6 part of a
-- path or null (in any case), $7 patterns of paths with a slash or null for all.
-- The paths that there are come from the index, one look-up each. The page can only hold
-- executions of as many groups of path and status as it has entries: those with the newest ones.
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
),

matching AS MATERIALIZED (
    SELECT k.path
    FROM known AS k
    WHERE
        ($6::TEXT IS NULL OR strpos(lower(k.path), lower($6)) > 0)
        AND ($7::TEXT[] IS NULL OR ltrim(k.path, '/') || '/' LIKE ANY($7))
),

newest AS MATERIALIZED (
    SELECT m.path, w.status
    FROM matching AS m
    CROSS JOIN unnest($5::TEXT[]) AS w (status)
    CROSS JOIN
        LATERAL (
            SELECT s.started_at, s.execution_id
            FROM noetl.execution_state AS s
            WHERE
                s.path = m.path
                AND s.status = w.status
                AND (s.started_at, s.execution_id) < (
                    coalesce($1::TIMESTAMPTZ, 'infinity'), coalesce($2::BIGINT, 9223372036854775807)
                )
            ORDER BY s.started_at DESC, s.execution_id DESC
            LIMIT 1
        ) AS f
    ORDER BY f.started_at DESC, f.execution_id DESC
    LIMIT $3::BIGINT + $4::BIGINT
),

page AS MATERIALIZED (
    SELECT f.started_at, f.execution_id
    FROM newest AS n
    CROSS JOIN
        LATERAL (
            SELECT s.started_at, s.execution_id
            FROM noetl.execution_state AS s
            WHERE
                s.path = n.path
                AND s.status = n.status
                AND (s.started_at, s.execution_id) < (
                    coalesce($1::TIMESTAMPTZ, 'infinity'), coalesce($2::BIGINT, 9223372036854775807)
                )
            ORDER BY s.started_at DESC, s.execution_id DESC
            LIMIT $3::BIGINT + $4::BIGINT
        ) AS f
    ORDER BY f.started_at DESC, f.execution_id DESC
    LIMIT $3 OFFSET $4
)

SELECT {state}
FROM page AS p
CROSS JOIN
    LATERAL (
        SELECT s.* FROM noetl.execution_state AS s
        WHERE s.execution_id = p.execution_id
        LIMIT 1
    ) AS s
ORDER BY p.started_at DESC, p.execution_id DESC;

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
-- $4 limit, $5 offset, $6 bytes of bodies as above, $7 whether commands have their context,
-- $8 step or null
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
                    AND ($8::TEXT IS NULL OR e.node_name = $8)
                ORDER BY e.position DESC
                LIMIT $4 OFFSET $5
            ) AS e
    ) AS e
ORDER BY e.position DESC;

-- name: count_page
-- The number of rows over all pages. $1 execution id, $2 ids above this or null, $3 type or null,
-- $4 step or null
SELECT count(*)
FROM noetl.event AS e
WHERE
    e.execution_id = $1
    AND ($2::BIGINT IS NULL OR e.event_id > $2)
    AND ($3::TEXT IS NULL OR e.event_type = $3)
    AND ($4::TEXT IS NULL OR e.node_name = $4);

-- name: read_start
-- The workload of an execution. $1 execution id
SELECT e.context -> 'workload' AS workload
FROM noetl.event AS e
WHERE e.execution_id = $1 AND e.position = 1;

-- name: read_workload
-- The workload that commands name. $1 execution id, $2 position of its row
SELECT e.context -> 'workload' AS workload
FROM noetl.event AS e
WHERE e.execution_id = $1 AND e.position = $2;

-- name: read_origin
-- The workload of an execution, and the pool that its start named. $1 execution id
SELECT
    e.context -> 'workload' AS workload,
    e.meta ->> 'execution_pool' AS execution_pool
FROM noetl.event AS e
WHERE e.execution_id = $1 AND e.position = 1;

-- name: read_origins
-- The origins of a restarted execution, with the origins of these. $1 execution id
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
-- read model with what the log holds behind it, of which the newest rows are looked at; of the fold
-- of steps this is the part that counts here. `behind` says how many rows the model lacks.
-- One statement, so that all of it is of one moment. $1 execution id, $2 limit of names, of which
-- the newest stay
WITH place AS MATERIALIZED (
    SELECT
        coalesce(
            (SELECT x.steps_position FROM noetl.execution AS x WHERE x.execution_id = $1), 0
        ) AS steps_position
),

parts AS (
    SELECT k.step, k.ended_position, k.open
    FROM noetl.execution_step AS k
    WHERE k.execution_id = $1 AND k.position <= (SELECT p.steps_position FROM place AS p)
    UNION ALL
    SELECT
        e.node_name AS step,
        CASE
            WHEN e.event_type IN ('command.completed', 'step.exit') THEN e.position
            ELSE 0
        END AS ended_position,
        CASE
            WHEN e.event_type = 'step.exit' OR e.note ? 'inert' THEN 0
            WHEN e.event_type IN ('command.issued', 'wait.started') THEN 1
            WHEN e.event_type = 'call.done'
                THEN CASE WHEN e.note ->> 'callback' = 'ends' THEN -1 ELSE 0 END
            WHEN e.note ? 'parked' THEN 0
            ELSE -1
        END AS open
    FROM
        (
            SELECT n.position, n.node_name, n.event_type, n.note, n.meta
            FROM noetl.event AS n
            WHERE n.execution_id = $1 AND n.position > (SELECT p.steps_position FROM place AS p)
            ORDER BY n.position DESC
            LIMIT 20000
        ) AS e
    WHERE
        e.event_type IN (
            'command.issued', 'wait.started', 'command.completed', 'command.failed', 'step.exit',
            'call.done'
        )
        AND (e.event_type != 'call.done' OR e.note ? 'callback')
        AND coalesce(e.meta ->> 'late', 'false') != 'true'
),

named AS (
    SELECT e.step, max(e.ended_position) AS ended_position
    FROM parts AS e
    WHERE e.step IS NOT NULL
    GROUP BY e.step
    HAVING
        max(e.ended_position) > 0
        AND (
            sum(e.open) <= 0
            OR NOT EXISTS (
                SELECT FROM noetl.execution_state AS s
                WHERE s.execution_id = $1 AND s.status = 'RUNNING'
            )
        )
    ORDER BY max(e.ended_position) DESC
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
-- The number of commands that a looped start generates; no row without a loop. $1 execution id
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
-- True if a command is still open, and the path of its execution. $1 event id, $2 execution id
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
-- Executions that run for longer, oldest first; those in a wait, or paused, are left alone.
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
