-- migrate:up
-- What the catalog's and the dashboard's routes need.
SET lock_timeout = '4s';
SET statement_timeout = '5s';

-- A document's `metadata`, in which agents say what they can do; and versions that were taken
-- out: executions that name them go on, nothing starts with them.
ALTER TABLE noetl.catalog
    ADD COLUMN metadata JSONB,
    ADD COLUMN deleted_at TIMESTAMPTZ;

-- Executions by the UTC day of their start, kept by the projector with its read model, so that
-- no request counts executions.
CREATE TABLE noetl.execution_day (
    day DATE PRIMARY KEY,
    executions BIGINT NOT NULL DEFAULT 0
);
INSERT INTO noetl.execution_day (day, executions)
SELECT (e.start_time AT TIME ZONE 'UTC')::DATE, count(*)
FROM noetl.execution AS e
WHERE e.start_time IS NOT NULL
GROUP BY 1;

-- migrate:down
DROP TABLE noetl.execution_day;
ALTER TABLE noetl.catalog
    DROP COLUMN deleted_at,
    DROP COLUMN metadata;
