-- Statements about rows of the outbox that were given up.

-- name: list_rows
-- $1 number behind which they begin, $2 execution or null for all, $3 limit
SELECT
    o.outbox_id, o.kind, o.subject, o.execution_id, o.last_error, o.attempts, o.created_at,
    o.updated_at, NULL::TEXT AS payload
FROM noetl.outbox AS o
WHERE
    o.status = 'PARKED'
    AND o.outbox_id > $1
    AND ($2::BIGINT IS NULL OR o.execution_id = $2)
ORDER BY o.outbox_id
LIMIT $3;

-- name: read_row
-- $1 number
SELECT
    o.outbox_id, o.kind, o.subject, o.execution_id, o.last_error, o.attempts, o.created_at,
    o.updated_at, left(o.payload::TEXT, 1000000) AS payload
FROM noetl.outbox AS o
WHERE o.status = 'PARKED' AND o.outbox_id = $1;

-- name: replay_row
-- $1 number
UPDATE noetl.outbox
SET
    status = 'PENDING',
    attempts = 0,
    available_at = now(),
    locked_at = NULL,
    updated_at = now()
WHERE outbox_id = $1 AND status = 'PARKED';

-- name: drop_row
-- $1 number
DELETE FROM noetl.outbox
WHERE outbox_id = $1 AND status = 'PARKED';
