-- What is kept of executions' results, and doing away with it (http-b 8.3).

-- name: list_results
-- Results of an execution, oldest first. $1 execution id, $2 scope or null, $3 name or null,
-- $4 limit
SELECT
    r.result_id, r.name, r.scope, r.source_step, r.store, r.bytes, r.sha256, r.created_at,
    r.expires_at
FROM noetl.result_store AS r
WHERE
    r.execution_id = $1
    AND ($2::TEXT IS NULL OR r.scope = $2)
    AND ($3::TEXT IS NULL OR r.name = $3 OR r.source_step = $3)
ORDER BY r.result_id
LIMIT $4;

-- name: delete_results
-- Their bodies go with them. $1 execution id, $2 scope or null, $3 name or null
WITH gone AS (
    DELETE FROM noetl.result_store AS r
    WHERE
        r.execution_id = $1
        AND ($2::TEXT IS NULL OR r.scope = $2)
        AND ($3::TEXT IS NULL OR r.name = $3 OR r.source_step = $3)
    RETURNING 1
)

SELECT count(*) FROM gone;

-- name: measure_results
-- How much is kept where.
SELECT r.store, count(*) AS results, coalesce(sum(r.bytes), 0)::BIGINT AS bytes
FROM noetl.result_store AS r
GROUP BY r.store
ORDER BY r.store;
