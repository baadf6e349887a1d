-- Reads of steps: the rows of the read model with what the log holds behind it, so that a client
-- reads what it has just written.

-- name: list_steps
-- A page of the steps of an execution, in the order in which they began; one row of nulls, but for
-- what the execution's state row says, when no step is on it. No row without an execution.
-- `behind` says how many rows of the log the model lacks, of which the newest are looked at.
-- $1 execution id, $2 position after which a step's first row is, $3 state or null, $4 limit
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

shown AS (
    SELECT
        {step_column},
        CASE
            WHEN f.phase = 'skipped' THEN 'SKIPPED'
            WHEN f.phase = 'left' THEN 'COMPLETED'
            WHEN f.failed > 0 AND f.open <= 0 AND (f.is_cursor OR f.total IS NOT NULL) THEN 'FAILED'
            WHEN f.done >= f.total THEN 'COMPLETED'
            WHEN f.phase = 'failed' AND f.total IS NULL THEN 'FAILED'
            WHEN f.phase = 'ended' AND f.total IS NULL AND NOT f.is_cursor THEN 'COMPLETED'
            WHEN f.undecided THEN 'FAILED'
            WHEN s.status != 'RUNNING' THEN 'CANCELLED'
            WHEN f.phase = 'waits' AND f.open > 0 THEN 'WAITING'
            ELSE 'RUNNING'
        END AS state
    FROM steps AS f
    INNER JOIN noetl.execution_state AS s
        ON s.execution_id = f.execution_id
    WHERE f.runs > 0 OR f.phase IS NOT NULL OR f.undecided
)

SELECT
    {step_column}, f.state,
    s.path, s.status, s.ended_at AS execution_ended_at, s.position - p.steps_position AS behind
FROM noetl.execution_state AS s
CROSS JOIN place AS p
LEFT JOIN shown AS f
    ON f.execution_id = s.execution_id
    AND f.first_position > $2
    AND ($3::TEXT IS NULL OR f.state = $3)
WHERE s.execution_id = $1
ORDER BY f.first_position
LIMIT $4;
