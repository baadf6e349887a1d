-- migrate:up
-- The digest of an execution's log up to a position; NULL where a release before wrote of it.
-- And up to which position an archive has the execution; NULL for none.
SET lock_timeout = '4s';

ALTER TABLE noetl.execution_state
    ADD COLUMN digest_position BIGINT,
    ADD COLUMN digest BYTEA,
    ADD COLUMN archived_position BIGINT;

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
    )) AS soft_error,
    s.digest_position, s.digest, s.archived_position
FROM noetl.execution_state AS s;

-- migrate:down
DROP VIEW noetl_shown.execution_state;
ALTER TABLE noetl.execution_state DROP COLUMN archived_position, DROP COLUMN digest,
DROP COLUMN digest_position;
CREATE VIEW noetl_shown.execution_state AS
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
