-- migrate:up
-- Which execution goes on from which, and the failures that people have to look at.
SET lock_timeout = '4s';
SET statement_timeout = '60s';

-- Every origin of a restarted execution, also those further back: its results may be in their
-- stores, which stay for as long as it does.
CREATE TABLE noetl.restart (
    execution_id BIGINT NOT NULL,
    origin_execution_id BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (execution_id, origin_execution_id)
);
CREATE INDEX idx_restart_origin ON noetl.restart (origin_execution_id);

-- One row for each failed execution. Rows are computed from the log, what people said of them not.
CREATE TABLE noetl.failure (
    execution_id BIGINT PRIMARY KEY,
    path TEXT NOT NULL,
    version INTEGER NOT NULL,
    step TEXT,
    kind TEXT NOT NULL,
    -- Of path, step and the message without its numbers, ids and addresses.
    fingerprint TEXT NOT NULL,
    message TEXT NOT NULL,
    failed_at TIMESTAMPTZ NOT NULL,
    dismissed_at TIMESTAMPTZ,
    dismissed_by TEXT,
    restarted_as BIGINT
);
CREATE INDEX idx_failure_open ON noetl.failure (failed_at DESC, execution_id DESC)
WHERE dismissed_at IS NULL AND restarted_as IS NULL;
CREATE INDEX idx_failure_fingerprint ON noetl.failure (fingerprint, execution_id);

-- The rights so far, and those of the new tables.
ALTER FUNCTION noetl.service_rights() RENAME TO service_rights_before_0019;
CREATE FUNCTION noetl.service_rights()
RETURNS TABLE (role_name TEXT, table_name TEXT, privileges TEXT)
LANGUAGE sql STABLE AS $$
    SELECT b.role_name, b.table_name, b.privileges FROM noetl.service_rights_before_0019() AS b
    UNION ALL
    VALUES
        ('noetl_orchestrator', 'restart', 'SELECT, INSERT, DELETE'),
        ('noetl_projector', 'restart', 'SELECT'),
        ('noetl_projector', 'failure', 'SELECT, INSERT, UPDATE, DELETE'),
        ('noetl_orchestrator', 'failure', 'SELECT, DELETE')
$$;
SELECT noetl.grant_to_services();

-- migrate:down
DROP FUNCTION noetl.service_rights();
ALTER FUNCTION noetl.service_rights_before_0019() RENAME TO service_rights;
DROP TABLE noetl.failure;
DROP TABLE noetl.restart;
