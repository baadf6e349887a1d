-- migrate:up
-- What failed first in an execution, its first soft error, and triggers for ends of executions.
SET lock_timeout = '4s';
SET statement_timeout = '5s';

ALTER TABLE noetl.execution_state
    -- {step, kind, message, task, iteration, line, position}; NULL while nothing has failed
    ADD COLUMN cause JSONB,
    ADD COLUMN soft_error JSONB;

-- Documents that say what ends of executions start.
INSERT INTO noetl.resource (name, meta) VALUES
('trigger', '{"description": "Trigger", "executable": false, "catalog": true}');

-- Both hold texts of errors, which are shown masked.
CREATE OR REPLACE VIEW noetl_shown.execution_state AS
SELECT
    s.execution_id, s.catalog_id, s.path, s.version, s.parent_execution_id, s.status, s.position,
    s.snapshot_position, s.started_at, s.ended_at, s.updated_at,
    noetl_shown.without(s.error, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = s.execution_id AND f.position = 1
    )) AS error,
    s.total_steps, s.completed_steps, s.running_steps, s.failed_steps, s.soft_errors,
    s.current_step,
    noetl_shown.masked(s.cause, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = s.execution_id AND f.position = 1
    )) AS cause,
    noetl_shown.masked(s.soft_error, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = s.execution_id AND f.position = 1
    )) AS soft_error
FROM noetl.execution_state AS s;

DO $$
DECLARE
    body TEXT := pg_get_functiondef('noetl_shown.let_read(name)'::REGPROCEDURE);
    old TEXT := '(''execution_state'', ARRAY[''error''])';
    new TEXT := '(''execution_state'', ARRAY[''error'', ''cause'', ''soft_error''])';
BEGIN
    IF strpos(body, old) = 0 THEN
        RAISE EXCEPTION 'noetl_shown.let_read withholds other columns of execution_state';
    END IF;
    EXECUTE replace(body, old, new);
END $$;

-- migrate:down
DELETE FROM noetl.resource WHERE name = 'trigger';
DO $$
BEGIN
    EXECUTE replace(
        pg_get_functiondef('noetl_shown.let_read(name)'::REGPROCEDURE),
        '(''execution_state'', ARRAY[''error'', ''cause'', ''soft_error''])',
        '(''execution_state'', ARRAY[''error''])'
    );
END $$;
DROP VIEW noetl_shown.execution_state;
CREATE VIEW noetl_shown.execution_state AS
SELECT
    s.execution_id, s.catalog_id, s.path, s.version, s.parent_execution_id, s.status, s.position,
    s.snapshot_position, s.started_at, s.ended_at, s.updated_at,
    noetl_shown.without(s.error, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = s.execution_id AND f.position = 1
    )) AS error,
    s.total_steps, s.completed_steps, s.running_steps, s.failed_steps, s.soft_errors,
    s.current_step
FROM noetl.execution_state AS s;
ALTER TABLE noetl.execution_state DROP COLUMN soft_error, DROP COLUMN cause;
