-- migrate:up
-- Schedules: documents of that kind in force, and what became of each of their times.
SET lock_timeout = '4s';
SET statement_timeout = '5s';

INSERT INTO noetl.resource (name, meta) VALUES
('schedule', '{"description": "Schedule", "executable": false, "catalog": true}');

-- Nothing has written it so far.
ALTER TABLE noetl.schedule
ADD COLUMN path TEXT NOT NULL UNIQUE,
ADD COLUMN catalog_id BIGINT NOT NULL,
ADD COLUMN version INTEGER NOT NULL,
ADD COLUMN spec JSONB NOT NULL,
-- Who registered it, in whose name it starts: null where callers are not known.
ADD COLUMN owner TEXT,
ADD COLUMN namespace TEXT,
ADD COLUMN registered_at TIMESTAMPTZ NOT NULL,
ADD COLUMN paused_at TIMESTAMPTZ,
ADD COLUMN paused_by TEXT,
-- Why it has no times any more, such as its deletion.
ADD COLUMN ended TEXT,
-- The next time that nothing was decided about, without the jitter.
ADD COLUMN next_at TIMESTAMPTZ,
-- When a replica has to look at it; null for never. A lease moves it on.
ADD COLUMN look_at TIMESTAMPTZ,
ADD COLUMN lease TEXT;
CREATE INDEX schedule_look ON noetl.schedule (look_at) WHERE look_at IS NOT NULL;

CREATE TABLE noetl.schedule_firing (
    schedule_id BIGINT NOT NULL REFERENCES noetl.schedule (schedule_id),
    scheduled_at TIMESTAMPTZ NOT NULL,
    state TEXT NOT NULL CHECK (
        state IN ('starting', 'queued', 'started', 'skipped', 'missed', 'failed')
    ),
    -- Chosen before the start, so that a start that is repeated is the same.
    execution_id BIGINT,
    origin TEXT NOT NULL CHECK (origin IN ('clock', 'backfill')),
    due_at TIMESTAMPTZ NOT NULL,
    decided_at TIMESTAMPTZ NOT NULL,
    started_at TIMESTAMPTZ,
    reason TEXT,
    -- How many times in a row a missed one stands for.
    count INTEGER NOT NULL DEFAULT 1,
    -- Whether the overlap of later times depends on its execution.
    is_awaited BOOLEAN NOT NULL DEFAULT FALSE,
    -- The last known status of an execution that has ended.
    outcome TEXT,
    PRIMARY KEY (schedule_id, scheduled_at)
);
CREATE INDEX schedule_firing_open ON noetl.schedule_firing (schedule_id, scheduled_at)
WHERE state IN ('starting', 'queued') OR is_awaited;
CREATE INDEX schedule_firing_age ON noetl.schedule_firing (decided_at);

-- The rights so far, and those of the new tables.
ALTER FUNCTION noetl.service_rights() RENAME TO service_rights_before_0015;
CREATE FUNCTION noetl.service_rights()
RETURNS TABLE (role_name TEXT, table_name TEXT, privileges TEXT)
LANGUAGE sql STABLE AS $$
    SELECT b.role_name, b.table_name, b.privileges FROM noetl.service_rights_before_0015() AS b
    UNION ALL
    VALUES
        ('noetl_catalog', 'schedule', 'SELECT, INSERT, UPDATE, DELETE'),
        ('noetl_catalog', 'schedule_firing', 'SELECT, INSERT, UPDATE, DELETE')
$$;
SELECT noetl.grant_to_services();

-- migrate:down
DROP FUNCTION noetl.service_rights();
ALTER FUNCTION noetl.service_rights_before_0015() RENAME TO service_rights;
DROP TABLE noetl.schedule_firing;
DROP INDEX noetl.schedule_look;
DELETE FROM noetl.schedule;
ALTER TABLE noetl.schedule
DROP COLUMN path,
DROP COLUMN catalog_id,
DROP COLUMN version,
DROP COLUMN spec,
DROP COLUMN owner,
DROP COLUMN namespace,
DROP COLUMN registered_at,
DROP COLUMN paused_at,
DROP COLUMN paused_by,
DROP COLUMN ended,
DROP COLUMN next_at,
DROP COLUMN look_at,
DROP COLUMN lease;
DELETE FROM noetl.catalog WHERE kind = 'schedule';
DELETE FROM noetl.resource WHERE name = 'schedule';
