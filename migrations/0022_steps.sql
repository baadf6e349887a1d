-- migrate:up
-- The read model of steps: a row for each step of an execution, moved along behind its log.
SET lock_timeout = '4s';
SET statement_timeout = '60s';

-- Nothing that moves is indexed, so that rows are updated in place.
CREATE TABLE noetl.execution_step (
    execution_id BIGINT NOT NULL,
    step TEXT NOT NULL,
    -- of the first and of the newest row of the log that counts here
    first_position BIGINT NOT NULL,
    position BIGINT NOT NULL,
    -- of the newest row that ended a run or a part of it; 0 without one
    ended_position BIGINT NOT NULL DEFAULT 0,
    -- how often it was entered; what follows is of the newest run, but for its first start
    runs INTEGER NOT NULL DEFAULT 0,
    first_started_at TIMESTAMPTZ,
    started_at TIMESTAMPTZ,
    ended_at TIMESTAMPTZ,
    -- 'began', 'waits', 'ended', 'failed', 'left', 'skipped'
    phase TEXT,
    -- commands that have not ended
    open INTEGER NOT NULL DEFAULT 0,
    -- the highest number of times that one of its commands was handed out
    attempts INTEGER NOT NULL DEFAULT 0,
    -- iterations; NULL and FALSE of a step without a loop
    total INTEGER,
    is_cursor BOOLEAN NOT NULL DEFAULT FALSE,
    done INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    -- whether no decision could be made about it
    undecided BOOLEAN NOT NULL DEFAULT FALSE,
    error TEXT,
    worker_id TEXT,
    PRIMARY KEY (execution_id, step)
) WITH (fillfactor = 85);

-- The position up to which the rows above count. The release before leaves it where it is.
ALTER TABLE noetl.execution ADD COLUMN steps_position BIGINT NOT NULL DEFAULT 0;

-- What the SQL route shows.
CREATE OR REPLACE VIEW noetl_shown.execution AS
SELECT
    x.execution_id, x.catalog_id, x.parent_execution_id, x.path, x.status, x.start_time,
    x.end_time,
    noetl_shown.without(x.error, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = x.execution_id AND f.position = 1
    )) AS error,
    x.last_event_type, x.last_node_name, x.last_event_id,
    noetl_shown.masked(x.state, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = x.execution_id AND f.position = 1
    )) AS state,
    x.created_at, x.updated_at, x.position, x.steps_position
FROM noetl.execution AS x;

CREATE VIEW noetl_shown.execution_step AS
SELECT
    t.execution_id, t.step, t.first_position, t.position, t.ended_position, t.runs,
    t.first_started_at, t.started_at, t.ended_at, t.phase, t.open, t.attempts, t.total,
    t.is_cursor, t.done, t.failed, t.undecided,
    noetl_shown.without(t.error, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = t.execution_id AND f.position = 1
    )) AS error,
    t.worker_id
FROM noetl.execution_step AS t;

-- The rights so far, and those of the new table.
ALTER FUNCTION noetl.service_rights() RENAME TO service_rights_before_0022;
CREATE FUNCTION noetl.service_rights()
RETURNS TABLE (role_name TEXT, table_name TEXT, privileges TEXT)
LANGUAGE sql STABLE AS $$
    SELECT b.role_name, b.table_name, b.privileges FROM noetl.service_rights_before_0022() AS b
    UNION ALL
    VALUES
        ('noetl_projector', 'execution_step', 'SELECT, INSERT, UPDATE, DELETE'),
        ('noetl_orchestrator', 'execution_step', 'SELECT, DELETE')
$$;
SELECT noetl.grant_to_services();

-- migrate:down
DROP FUNCTION noetl.service_rights();
ALTER FUNCTION noetl.service_rights_before_0022() RENAME TO service_rights;
DROP VIEW noetl_shown.execution_step;
DROP VIEW noetl_shown.execution;
CREATE VIEW noetl_shown.execution AS
SELECT
    x.execution_id, x.catalog_id, x.parent_execution_id, x.path, x.status, x.start_time,
    x.end_time,
    noetl_shown.without(x.error, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = x.execution_id AND f.position = 1
    )) AS error,
    x.last_event_type, x.last_node_name, x.last_event_id,
    noetl_shown.masked(x.state, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = x.execution_id AND f.position = 1
    )) AS state,
    x.created_at, x.updated_at, x.position
FROM noetl.execution AS x;
ALTER TABLE noetl.execution DROP COLUMN steps_position;
DROP TABLE noetl.execution_step;
