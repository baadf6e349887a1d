-- Statements about variables of executions, on the shard's database.

-- list: variable
-- The value is text, so that no number is rounded on its way.
SELECT
    v.var_name, v.var_type, v.var_value::TEXT AS var_value, v.source_step, v.created_at,
    v.accessed_at, v.access_count
FROM noetl.transient AS v;

-- name: list_vars
-- $1 execution id, $2 limit
SELECT {variable}
FROM noetl.transient AS v
WHERE v.execution_id = $1
ORDER BY v.var_name
LIMIT $2;

-- name: read_var
-- Reading counts as an access. $1 execution id, $2 name
UPDATE noetl.transient AS v
SET access_count = v.access_count + 1, accessed_at = now()
WHERE v.execution_id = $1 AND v.var_name = $2
RETURNING {variable};

-- name: set_vars
-- Writes variables, in one order so that two writers cannot block each other; a name is there
-- once. $1 execution id, $2 names, $3 types, $4 values as JSON text, $5 steps
INSERT INTO noetl.transient (execution_id, var_name, var_type, var_value, source_step)
SELECT $1, n.var_name, n.var_type, n.var_value::JSONB, n.source_step
FROM
    unnest($2::TEXT[], $3::TEXT[], $4::TEXT[], $5::TEXT[])
        AS n (var_name, var_type, var_value, source_step)
ORDER BY n.var_name
ON CONFLICT (execution_id, var_name) DO UPDATE SET
    var_type = excluded.var_type,
    var_value = excluded.var_value,
    source_step = excluded.source_step,
    accessed_at = now();

-- name: delete_var
-- $1 execution id, $2 name
DELETE FROM noetl.transient AS v
WHERE v.execution_id = $1 AND v.var_name = $2
RETURNING v.var_name;

-- name: delete_vars
-- $1 execution id
WITH deleted AS (
    DELETE FROM noetl.transient AS v
    WHERE v.execution_id = $1
    RETURNING 1
)

SELECT count(*) FROM deleted;
