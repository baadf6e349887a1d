-- Statements that divide the executions of a database between two.

-- name: list_living
-- Processes that hold a machine id, and workers that were heard a moment ago.
SELECT m.holder AS name, 'a machine id until ' || to_char(m.lease_until, 'HH24:MI:SS') AS what
FROM noetl.machine_lease AS m
WHERE m.lease_until > now()
UNION ALL
SELECT r.name, 'a heartbeat at ' || to_char(r.heartbeat, 'HH24:MI:SS') AS what
FROM noetl.runtime AS r
WHERE
    r.kind = 'worker_pool'
    AND r.deregistered_at IS NULL
    AND r.heartbeat > now() - INTERVAL '30 seconds'
ORDER BY 1
LIMIT 10;

-- name: read_schema
SELECT max(version) FROM noetl.schema_migrations;

-- name: read_identity
SELECT cluster_id, shard_index, shard_count FROM noetl.shard_identity;

-- name: write_identity
-- $1 cluster, $2 shard, $3 number of shards
INSERT INTO noetl.shard_identity (cluster_id, shard_index, shard_count)
VALUES ($1, $2, $3)
ON CONFLICT (only_row) DO UPDATE
    SET shard_index = excluded.shard_index, shard_count = excluded.shard_count;

-- name: read_closed
SELECT coalesce(obj_description(n.oid, 'pg_namespace'), 'no reason is given')
FROM pg_namespace AS n
WHERE n.nspname = 'noetl_closed';

-- name: close_database
CREATE SCHEMA noetl_closed;

-- name: write_reason
-- $1 reason
SELECT format('COMMENT ON SCHEMA noetl_closed IS %L', $1::TEXT);

-- name: open_database
DROP SCHEMA noetl_closed CASCADE;

-- name: is_filled
SELECT EXISTS (
    SELECT FROM noetl.event
    UNION ALL
    SELECT FROM noetl.execution_state
    UNION ALL
    SELECT FROM noetl.outbox
) AS is_filled;

-- name: list_columns
-- $1 table
SELECT a.attname AS name
FROM pg_attribute AS a
WHERE
    a.attrelid = ('noetl.' || $1::TEXT)::REGCLASS
    AND a.attnum > 0
    AND NOT a.attisdropped
    AND a.attgenerated = ''
ORDER BY a.attnum;

-- name: list_partitions
-- Partitions of the log, with the statement that makes each.
SELECT
    c.relname AS name,
    format(
        'CREATE TABLE IF NOT EXISTS noetl.%I PARTITION OF noetl.%I %s',
        c.relname, p.relname, pg_get_expr(c.relpartbound, c.oid)
    ) AS statement
FROM pg_inherits AS i
INNER JOIN pg_class AS c
    ON c.oid = i.inhrelid
INNER JOIN pg_class AS p
    ON p.oid = i.inhparent
WHERE i.inhparent IN ('noetl.event'::REGCLASS, 'noetl.command'::REGCLASS)
ORDER BY c.relname;

-- name: list_active_subscriptions
SELECT s.subscription_id, s.path FROM noetl.subscription AS s
WHERE s.state != 'DEACTIVATED'
ORDER BY s.path;

-- name: list_running_restarts
-- Executions that run and go on from another one.
SELECT r.execution_id, r.origin_execution_id
FROM noetl.restart AS r
INNER JOIN noetl.execution_state AS s
    ON s.execution_id = r.execution_id
WHERE s.ended_at IS NULL
ORDER BY r.execution_id;

-- name: empty_request_keys
TRUNCATE noetl.request_key;

-- name: keep_outbox_numbers
-- Rows that get their numbers here begin behind those that came. $1 last number there
SELECT setval('noetl.outbox_outbox_id_seq', greatest($1::BIGINT, 1));

-- name: read_outbox_number
SELECT o.last_value FROM noetl.outbox_outbox_id_seq AS o;

-- name: rename_shard_in_outbox
-- Subjects and notifications that name the shard of their own execution. $1 shard
UPDATE noetl.outbox AS o
SET
    subject = CASE o.kind
        WHEN 'commit'
            THEN regexp_replace(o.subject, '^([^.]+)\.[0-9]+\.', '\1.' || $1::INTEGER || '.')
        WHEN 'event' THEN regexp_replace(o.subject, '\.[0-9]+$', '.' || $1::INTEGER)
        ELSE o.subject
    END,
    payload = CASE
        WHEN o.kind = 'command' AND o.payload -> 'fast' ? 'shard'
            THEN jsonb_set(o.payload, '{fast,shard}', to_jsonb($1::INTEGER))
        ELSE o.payload
    END
WHERE o.kind IN ('commit', 'event', 'command');

-- name: list_messages
-- Messages to executions, with the subject that names their shard. $1 number behind which, $2 limit
SELECT o.outbox_id, o.subject
FROM noetl.outbox AS o
WHERE o.kind = 'message' AND o.subject IS NOT NULL AND o.outbox_id > $1
ORDER BY o.outbox_id
LIMIT $2;

-- name: rename_messages
-- $1 numbers, $2 subjects
UPDATE noetl.outbox AS o
SET subject = n.subject
FROM unnest($1::BIGINT[], $2::TEXT[]) AS n (outbox_id, subject)
WHERE o.outbox_id = n.outbox_id;

-- name: empty_days
DELETE FROM noetl.execution_day;

-- name: empty_counters
DELETE FROM noetl.execution_counter;

-- name: count_days
INSERT INTO noetl.execution_day (day, executions)
SELECT (e.start_time AT TIME ZONE 'UTC')::DATE, count(*)
FROM noetl.execution AS e
WHERE e.start_time IS NOT NULL
GROUP BY 1;

-- name: count_executions
INSERT INTO noetl.execution_counter (path, status, executions)
SELECT coalesce(e.path, ''), e.status, count(*)
FROM noetl.execution AS e
WHERE e.position > 0
GROUP BY coalesce(e.path, ''), e.status;
