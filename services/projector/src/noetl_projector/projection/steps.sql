-- Steps, folded from the log rows behind the position up to which they were (P1).

-- name: keep_steps
-- Folds log rows into the rows of steps. The caller's transaction holds the executions' rows, and
-- has moved `steps_position` to $3. A row that says more than $2 is left over from an earlier model
-- and is replaced. The LIMIT, above every range, lets the planner expect few rows.
-- $1 execution ids, $2 positions folded, $3 positions wanted
WITH asked AS MATERIALIZED (
    SELECT w.execution_id, w.after, w.upto
    FROM unnest($1::BIGINT[], $2::BIGINT[], $3::BIGINT[]) AS w (execution_id, after, upto)
),

seen AS MATERIALIZED (
    SELECT {step_row}
    FROM asked AS w
    CROSS JOIN
        LATERAL (
            SELECT
                n.execution_id, n.position, n.event_type, n.node_name, n.status, n.result, n.meta,
                n.error, n.worker_id, n.note, n.ingest_time
            FROM noetl.event AS n
            WHERE
                n.execution_id = w.execution_id
                AND n.position > w.after
                AND n.position <= w.upto
            LIMIT 1000000
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

items AS (
    SELECT {step_item}
    FROM seen AS r
    WHERE octet_length(r.step) BETWEEN 1 AND 1024
    UNION ALL
    SELECT {step_kept}
    FROM (SELECT DISTINCT s.execution_id, s.step FROM seen AS s) AS t
    INNER JOIN asked AS w
        ON w.execution_id = t.execution_id AND w.after > 0
    CROSS JOIN
        LATERAL (
            SELECT o.*
            FROM noetl.execution_step AS o
            WHERE
                o.execution_id = t.execution_id
                AND o.step = t.step
                AND o.position <= w.after
            LIMIT 1
        ) AS k
),

marked AS (
    SELECT {step_marked}
    FROM items AS i
),

folded AS (
    SELECT {step_fold}
    FROM marked AS m
    GROUP BY m.execution_id, m.step
)

INSERT INTO noetl.execution_step (
    execution_id, step, first_position, position, ended_position, runs, first_started_at,
    started_at, ended_at, phase, open, attempts, total, is_cursor, done, failed, undecided, error,
    worker_id
)
SELECT {step_column}
FROM folded AS f
ON CONFLICT (execution_id, step) DO UPDATE
    SET
        first_position = excluded.first_position,
        position = excluded.position,
        ended_position = excluded.ended_position,
        runs = excluded.runs,
        first_started_at = excluded.first_started_at,
        started_at = excluded.started_at,
        ended_at = excluded.ended_at,
        phase = excluded.phase,
        open = excluded.open,
        attempts = excluded.attempts,
        total = excluded.total,
        is_cursor = excluded.is_cursor,
        done = excluded.done,
        failed = excluded.failed,
        undecided = excluded.undecided,
        error = excluded.error,
        worker_id = excluded.worker_id;

-- name: delete_steps
-- The steps of executions that are folded anew. $1 execution ids
DELETE FROM noetl.execution_step AS k
WHERE k.execution_id = ANY($1::BIGINT[]);
