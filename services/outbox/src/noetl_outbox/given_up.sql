-- Statements about parked rows, on the database of a shard.

-- name: list_parked_rows
-- The newest parked rows, without their payloads. $1 limit
SELECT
    o.outbox_id, o.kind, o.subject, o.execution_id, o.last_error, o.attempts, o.updated_at
FROM noetl.outbox AS o
WHERE o.status = 'PARKED'
ORDER BY o.outbox_id DESC
LIMIT $1;
