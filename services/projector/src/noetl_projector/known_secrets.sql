-- Workloads in which the secrets of executions are found, on the shard's database.

-- name: read_origins
-- The workloads of executions and of those that started them, null where no key looks secret: what
-- a parent passes on may have another key in its child. $1 execution ids, $2 generations
WITH RECURSIVE origin AS (
    SELECT
        e.execution_id AS asked, e.parent_execution_id,
        -- The changes of a restart are stored beside the workload of its origin.
        CASE
            WHEN e.context ? 'input'
                THEN jsonb_build_array(e.context -> 'workload', e.context -> 'input')
            ELSE e.context -> 'workload'
        END AS workload,
        1 AS generation
    FROM noetl.event AS e
    WHERE e.position = 1 AND e.execution_id = ANY($1::BIGINT[])
    UNION ALL
    SELECT
        o.asked, e.parent_execution_id,
        CASE
            WHEN e.context ? 'input'
                THEN jsonb_build_array(e.context -> 'workload', e.context -> 'input')
            ELSE e.context -> 'workload'
        END AS workload,
        o.generation + 1 AS generation
    FROM origin AS o
    INNER JOIN noetl.event AS e
        ON e.execution_id = o.parent_execution_id AND e.position = 1
    WHERE o.generation < $2::INTEGER
)

SELECT
    o.asked,
    CASE
        WHEN o.workload::TEXT ~* (
                'passw|pwd|passphrase|secret|token|bearer|jwt|auth|credential|pem|cert|key|'
                || 'connection'
            )
            THEN o.workload
    END AS workload
FROM origin AS o;
