-- Statements around a dump and a restore.

-- name: read_server_version
SELECT current_setting('server_version_num')::INTEGER / 10000;

-- name: read_schema
-- The newest migration; an error without the schema.
SELECT max(version) FROM noetl.schema_migrations;

-- name: has_schema
SELECT to_regnamespace('noetl') IS NOT NULL OR to_regnamespace('noetl_shown') IS NOT NULL;

-- name: read_closed
-- Why services must not serve the database; no row when they may.
SELECT coalesce(obj_description(n.oid, 'pg_namespace'), 'no reason is given')
FROM pg_namespace AS n
WHERE n.nspname = 'noetl_closed';

-- name: close_database
CREATE SCHEMA noetl_closed;

-- name: write_reason
-- $1 reason
SELECT format('COMMENT ON SCHEMA noetl_closed IS %L', $1::TEXT);

-- name: open_database
DROP SCHEMA noetl_closed;

-- name: write_put_aside
-- Schemas get other names, in no time whatever they hold.
SELECT format('ALTER SCHEMA %I RENAME TO %I', n.nspname, n.nspname || '_before') AS statement
FROM pg_namespace AS n
WHERE n.nspname IN ('noetl', 'noetl_shown');

-- name: write_put_back
SELECT format(
    'ALTER SCHEMA %I RENAME TO %I', n.nspname, regexp_replace(n.nspname, '_before$', '')
) AS statement
FROM pg_namespace AS n
WHERE n.nspname IN ('noetl_before', 'noetl_shown_before');

-- name: drop_shown
DROP SCHEMA IF EXISTS noetl_shown CASCADE;

-- name: drop_schema
DROP SCHEMA IF EXISTS noetl CASCADE;

-- name: drop_shown_before
DROP SCHEMA IF EXISTS noetl_shown_before CASCADE;

-- name: drop_schema_before
DROP SCHEMA IF EXISTS noetl_before CASCADE;

-- name: find_missing_roles
-- $1 names
SELECT r.name FROM unnest($1::TEXT[]) AS r (name) WHERE to_regrole(r.name) IS NULL;

-- name: send_messages_again
-- Messages to executions (O7): the broker may have delivered one whose effect is younger than the
-- backup, and remembers its id for a while, so each gets another one. Repeated ones change nothing.
UPDATE noetl.outbox
SET
    status = 'PENDING',
    available_at = now() - INTERVAL '1 minute',
    locked_at = NULL,
    stream_created_at = NULL,
    stream_sequence = NULL,
    message_id = regexp_replace(
        coalesce(message_id, 'm:' || execution_id || ':' || event_id), ':r[0-9]+$', ''
    ) || ':r' || extract(EPOCH FROM now())::BIGINT,
    updated_at = now()
WHERE kind = 'message'
    AND status IN ('PENDING', 'IN_FLIGHT', 'FAILED', 'PUBLISHED');

-- name: count_running
SELECT count(*)::INTEGER FROM noetl.execution_state WHERE status = 'RUNNING';
