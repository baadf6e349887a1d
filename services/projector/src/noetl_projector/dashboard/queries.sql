-- Statements of the dashboard and of the schema check, on the shard's database.

-- name: sum_counters
-- Executions by status; as many rows are read as there are paths and statuses.
SELECT c.status, sum(c.executions)::BIGINT AS executions
FROM noetl.execution_counter AS c
GROUP BY c.status;

-- name: list_days
-- Executions by the UTC day of their start, today and some days before. $1 how many days
SELECT d.day, d.executions
FROM noetl.execution_day AS d
WHERE d.day > (now() AT TIME ZONE 'UTC')::DATE - $1::INTEGER
ORDER BY d.day;

-- name: list_recent
-- The newest executions. $1 limit
SELECT s.execution_id, s.path, s.status, s.started_at
FROM noetl.execution_state AS s
ORDER BY s.started_at DESC, s.execution_id DESC
LIMIT $1;

-- name: list_tables
-- All tables and views of our schema, also those that our role may not read; no row when there is
-- no such schema.
SELECT c.relname::TEXT AS table_name
FROM pg_catalog.pg_namespace AS n
LEFT JOIN pg_catalog.pg_class AS c
    ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'f')
WHERE n.nspname = 'noetl'
ORDER BY table_name;
