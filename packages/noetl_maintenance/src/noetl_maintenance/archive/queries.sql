-- name: list_logs
-- Executions of a range with what the digest of their log should be, in the order of their ids.
-- $1 after this one, $2 only these (all when empty), $3 page
SELECT s.execution_id, s.position, s.digest_position, s.digest
FROM noetl.execution_state AS s
WHERE
    s.execution_id > $1
    AND (cardinality($2::BIGINT[]) = 0 OR s.execution_id = ANY($2::BIGINT[]))
ORDER BY s.execution_id
LIMIT $3;

-- name: list_due
-- Executions that ended before a moment and are not in an archive as they are now.
-- $1 after this one, $2 moment, $3 page
SELECT s.execution_id, s.position, s.digest_position, s.digest
FROM noetl.execution_state AS s
WHERE
    s.execution_id > $1
    AND s.ended_at < $2
    AND s.archived_position IS DISTINCT FROM s.position
ORDER BY s.execution_id
LIMIT $3;

-- name: read_events
-- The next events of a range of executions.
-- $1 first and $2 last execution, $3 and $4 execution and position of the event before, $5 page
SELECT {log_row}
FROM noetl.event AS e
WHERE
    e.execution_id >= $1 AND e.execution_id <= $2
    AND (e.execution_id, e.position) > ($3, $4)
ORDER BY e.execution_id, e.position
LIMIT $5;

-- name: seal_logs
-- Keeps the digest of logs that had none of all their events. $1 executions, $2 their positions,
-- $3 digests
UPDATE noetl.execution_state AS s
SET digest_position = n.position, digest = n.digest
FROM unnest($1::BIGINT[], $2::BIGINT[], $3::BYTEA[]) AS n (execution_id, position, digest)
WHERE s.execution_id = n.execution_id AND s.position = n.position;

-- name: mark_archived
-- Notes up to which position executions are in an archive. $1 executions, $2 positions
UPDATE noetl.execution_state AS s
SET archived_position = n.position
FROM unnest($1::BIGINT[], $2::BIGINT[]) AS n (execution_id, position)
WHERE s.execution_id = n.execution_id;

-- name: list_bodies
-- Results of executions whose bodies lie in buckets. $1 executions
SELECT r.execution_id, r.name, r.store, r.location, r.bytes, r.sha256
FROM noetl.result_store AS r
WHERE r.execution_id = ANY($1::BIGINT[]) AND r.location IS NOT NULL
ORDER BY r.execution_id, r.result_id;

-- name: keep_bodies
-- Bodies that rows name again don't wait for their removal any more. $1 locations
DELETE FROM noetl.result_body_removal
WHERE location = ANY($1::TEXT[]);

-- name: list_columns
-- The columns of a table with their types. $1 table
SELECT a.attname AS name, format_type(a.atttypid, NULL) AS type
FROM pg_attribute AS a
WHERE
    a.attrelid = ('noetl.' || $1::TEXT)::REGCLASS
    AND a.attnum > 0
    AND NOT a.attisdropped
    AND a.attgenerated = ''
ORDER BY a.attnum;

-- name: find_known
-- Those of the executions that the database has. $1 executions
SELECT s.execution_id
FROM noetl.execution_state AS s
WHERE s.execution_id = ANY($1::BIGINT[]);

-- name: read_migration
SELECT max(m.version) AS version
FROM noetl.schema_migrations AS m;

-- name: try_lock
-- Keeps other archives of this database away until the session ends.
SELECT pg_try_advisory_lock(hashtextextended('noetl.archive', 0)) AS is_ours;

-- name: read_as_of_now
-- Lets a transaction see one moment.
SET LOCAL transaction_isolation = 'repeatable read';

-- name: mark_as_archived_now
-- Notes that executions came out of an archive. $1 executions
UPDATE noetl.execution_state AS s
SET archived_position = s.position
WHERE s.execution_id = ANY($1::BIGINT[]);

-- name: lock_execution
-- $1 execution
SELECT s.position, s.archived_position
FROM noetl.execution_state AS s
WHERE s.execution_id = $1
FOR UPDATE;
