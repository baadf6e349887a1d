-- Statements for external publishers, which see event rows only (O4).

-- name: claim_events
-- Claims due event rows, lowest id first. When its lease ends, a row becomes due again.
-- $1 grace while the relay publishes events too, $2 lease, $3 maximum number of rows
WITH due AS (
    SELECT o.outbox_id
    FROM noetl.outbox AS o
    WHERE
        o.status IN ('PENDING', 'FAILED', 'IN_FLIGHT')
        AND o.kind = 'event'
        AND o.available_at <= now()
        AND (o.status != 'PENDING' OR o.available_at <= now() - $1::INTERVAL)
    ORDER BY o.outbox_id
    LIMIT $3
    FOR UPDATE SKIP LOCKED
),

claimed AS (
    UPDATE noetl.outbox AS o
    SET
        status = 'IN_FLIGHT',
        attempts = o.attempts + 1,
        locked_at = now(),
        available_at = now() + $2::INTERVAL,
        updated_at = now()
    FROM due AS d
    WHERE o.outbox_id = d.outbox_id
    RETURNING
        o.outbox_id, o.kind, o.execution_id, o.event_id, o.subject, o.message_id, o.payload,
        o.payload_codec, o.attempts
)

SELECT
    c.outbox_id, c.kind, c.execution_id, c.event_id, c.subject, c.message_id, c.payload,
    c.payload_codec, c.attempts,
    {published_log_row}
FROM claimed AS c
LEFT JOIN noetl.event AS e
    ON e.execution_id = c.execution_id
    AND e.event_id = c.event_id
ORDER BY c.outbox_id;

-- name: mark_events_published
-- Marks event rows in any state as published, and counts them. The stream sequence of a row is
-- known only if the relay published it. $1 ids
WITH marked AS (
    UPDATE noetl.outbox
    SET
        status = 'PUBLISHED',
        published_at = now(),
        last_error = NULL,
        stream_created_at = CASE WHEN status = 'PUBLISHED' THEN stream_created_at END,
        stream_sequence = CASE WHEN status = 'PUBLISHED' THEN stream_sequence END,
        updated_at = now()
    WHERE outbox_id = ANY($1::BIGINT[]) AND kind = 'event'
    RETURNING 1
)

SELECT count(*) FROM marked;

-- name: mark_event_failed
-- Makes an event row due again after a pause; a published row stays published.
-- $1 id, $2 error, $3 pause
UPDATE noetl.outbox
SET
    status = 'FAILED',
    available_at = now() + $3::INTERVAL,
    last_error = left($2, 2000),
    updated_at = now()
WHERE outbox_id = $1 AND kind = 'event' AND status != 'PUBLISHED';

-- name: count_pending_events
-- The number of event rows that are due to be published.
SELECT count(*)
FROM noetl.outbox
WHERE status IN ('PENDING', 'FAILED') AND kind = 'event' AND available_at <= now();
