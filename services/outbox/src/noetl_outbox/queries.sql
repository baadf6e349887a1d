-- Statements of the outbox relay, on the database of its shard.

-- name: read_clock
SELECT clock_timestamp();

-- name: claim_due_rows
-- Due rows, oldest first, skipping those another relay holds. Fresh rows are left to the
-- orchestrator that committed them for a while; rows in flight come back when their lease is over
-- (their available_at). Events are read from the log.
-- $1 grace, $2 lease, $3 most rows, $4 kinds of rows
WITH due AS (
    SELECT outbox_id
    FROM noetl.outbox
    WHERE status IN ('PENDING', 'FAILED', 'IN_FLIGHT')
        AND available_at <= now()
        AND (status != 'PENDING' OR available_at <= now() - $1::INTERVAL)
        AND kind = ANY($4::TEXT[])
    ORDER BY available_at, outbox_id
    LIMIT $3
    FOR UPDATE SKIP LOCKED
),

claimed AS (
    UPDATE noetl.outbox AS stored
    SET
        status = 'IN_FLIGHT',
        attempts = stored.attempts + 1,
        locked_at = now(),
        available_at = now() + $2::INTERVAL,
        updated_at = now()
    FROM due
    WHERE stored.outbox_id = due.outbox_id
    RETURNING
        stored.outbox_id, stored.kind, stored.execution_id, stored.event_id, stored.subject,
        stored.message_id, stored.payload, stored.attempts
)

SELECT
    c.outbox_id, c.kind, c.execution_id, c.event_id, c.subject, c.message_id, c.payload, c.attempts,
    {published_log_row}
FROM claimed AS c
LEFT JOIN noetl.event AS e
    ON c.kind = 'event'
    AND e.execution_id = c.execution_id
    AND e.event_id = c.event_id
ORDER BY c.outbox_id;

-- name: load_relayed
-- Events of commits that outside readers get, in the order of the commits.
-- $1 execution ids, $2 first and $3 last positions, $4 types of events, null for all
SELECT
    w.number, e.execution_id, e.event_id,
    {published_log_row}
FROM
    unnest($1::BIGINT[], $2::BIGINT[], $3::BIGINT[])
    WITH ORDINALITY AS w (execution_id, first, last, number)
INNER JOIN noetl.event AS e
    ON e.execution_id = w.execution_id
    AND e.position BETWEEN w.first AND w.last
WHERE $4::TEXT[] IS NULL OR e.event_type = ANY($4)
ORDER BY w.number, e.position;

-- name: mark_published
-- Marks many rows at once, except those that were put back under another message id meanwhile.
-- Rows without a sequence need not be published again (O5): they go at once, which costs half of a
-- mark and spares the purge.
-- The commit doesn't wait for the disk: rows whose mark a crash of the server undoes are published
-- once more under their ids, and commits of steps need not wait behind it.
-- $1 outbox ids, $2 message ids, $3 creation times of the streams, $4 sequences
WITH published AS (
    SELECT stored.outbox_id, ack.stream_created_at, ack.sequence
    FROM
        unnest($1::BIGINT[], $2::TEXT[], $3::TIMESTAMPTZ[], $4::BIGINT[])
            AS ack (outbox_id, message_id, stream_created_at, sequence)
    INNER JOIN noetl.outbox AS stored
        ON stored.outbox_id = ack.outbox_id
        AND stored.message_id = ack.message_id
    CROSS JOIN set_config('synchronous_commit', 'off', TRUE) AS relaxed
    WHERE stored.status IN ('PENDING', 'IN_FLIGHT', 'FAILED')
    ORDER BY stored.outbox_id
    FOR UPDATE OF stored
),

removed AS (
    DELETE FROM noetl.outbox AS stored
    USING published
    WHERE stored.outbox_id = published.outbox_id
        AND published.sequence IS NULL
)

UPDATE noetl.outbox AS stored
SET
    status = 'PUBLISHED',
    published_at = now(),
    last_error = NULL,
    stream_created_at = published.stream_created_at,
    stream_sequence = published.sequence,
    updated_at = now()
FROM published
WHERE stored.outbox_id = published.outbox_id
    AND published.sequence IS NOT NULL;

-- name: mark_failed
-- $1 outbox ids, $2 reasons, $3 pauses before the next try
UPDATE noetl.outbox AS stored
SET
    status = 'FAILED',
    available_at = now() + failure.pause,
    last_error = left(failure.reason, 2000),
    updated_at = now()
FROM unnest($1::BIGINT[], $2::TEXT[], $3::INTERVAL[]) AS failure (outbox_id, reason, pause)
WHERE stored.outbox_id = failure.outbox_id
    AND stored.status = 'IN_FLIGHT';

-- name: park_row
-- Gives up a row for good and, unless it is an event's, inserts a message that fails its
-- execution. The negative event id keeps the message apart from the row itself; its number is the
-- row's, negative too, as the service may not use the sequence.
-- $1 outbox id, $2 reason, $3 subject of the message or null, $4 its id, $5 its body
WITH parked AS (
    UPDATE noetl.outbox
    SET
        status = 'PARKED',
        last_error = left($2, 2000),
        updated_at = now()
    WHERE outbox_id = $1
        AND status != 'PUBLISHED'
    RETURNING outbox_id, execution_id, event_id
)

INSERT INTO noetl.outbox (
    outbox_id, execution_id, event_id, kind, subject, message_id, payload
)
SELECT
    -outbox_id, execution_id, -event_id, 'message', $3::TEXT, $4::TEXT, $5::JSONB
FROM parked
WHERE $3::TEXT IS NOT NULL
ON CONFLICT (execution_id, event_id, kind) DO NOTHING;

-- name: return_lost_commands
-- Puts back notifications of unclaimed commands that a stream no longer holds (O5). A younger
-- stream does not know their message id; the same stream may remember it, so the id changes.
-- $1 creation time of the stream, $2 its first and $3 its last sequence, $4 when these were asked
-- for, $5 grace of the sweep
UPDATE noetl.outbox AS stored
SET
    status = 'PENDING',
    available_at = now() - $5::INTERVAL,
    locked_at = NULL,
    created_at = now(),
    message_id = CASE
        WHEN stored.stream_created_at < $1 THEN stored.message_id
        ELSE regexp_replace(stored.message_id, ':r[0-9]+$', '') || ':r' || stored.attempts + 1
    END,
    attempts = stored.attempts + 1,
    updated_at = now()
FROM noetl.command AS command
WHERE command.status = 'PENDING'
    AND stored.execution_id = command.execution_id
    AND stored.event_id = command.event_id
    AND stored.kind = 'command'
    AND stored.status = 'PUBLISHED'
    AND stored.published_at < $4
    AND (
        stored.stream_created_at < $1
        OR stored.stream_sequence > $3
        OR stored.stream_sequence < $2
    );

-- name: return_lost_events
-- Puts back recent events that a stream no longer holds, for its subscribers.
-- $1 creation time of the stream, $2 its last sequence, $3 when these were asked for, $4 how
-- recent, $5 grace of the sweep, $6 most rows
UPDATE noetl.outbox AS stored
SET
    status = 'PENDING',
    available_at = now() - $5::INTERVAL,
    locked_at = NULL,
    created_at = now(),
    updated_at = now()
WHERE
    stored.outbox_id IN (
        SELECT outbox_id
        FROM noetl.outbox
        WHERE status = 'PUBLISHED'
            AND published_at > now() - $4::INTERVAL
            AND published_at < $3
            AND kind IN ('event', 'commit')
            AND (stream_created_at < $1 OR stream_sequence > $2)
        ORDER BY published_at DESC
        LIMIT $6
        FOR UPDATE SKIP LOCKED
    );

-- name: return_lost_messages
-- Puts back messages to executions that a lost ingress may not have delivered; repeated ones
-- change nothing.
-- $1 creation time of the stream, $2 its last sequence, $3 when these were asked for, $4 grace of
-- the sweep
UPDATE noetl.outbox AS stored
SET
    status = 'PENDING',
    available_at = now() - $4::INTERVAL,
    locked_at = NULL,
    created_at = now(),
    updated_at = now()
WHERE stored.status = 'PUBLISHED'
    AND stored.published_at < $3
    AND stored.kind = 'message'
    AND (stored.stream_created_at < $1 OR stored.stream_sequence > $2);

-- name: purge_published
-- Looks at one page of old published rows and removes those not needed: unfinished commands keep
-- their rows (O5), messages are kept for longer.
-- $1 age, $2 age of messages, $3 rows in a page, $4 and $5 where the page before ended
WITH page AS (
    SELECT outbox_id, kind, execution_id, event_id, published_at
    FROM noetl.outbox
    WHERE status = 'PUBLISHED'
        AND published_at < now() - $1::INTERVAL
        AND (published_at, outbox_id) > ($4::TIMESTAMPTZ, $5::BIGINT)
    ORDER BY published_at, outbox_id
    LIMIT $3
),

dispensable AS (
    SELECT page.outbox_id
    FROM page
    WHERE
        CASE page.kind
            WHEN 'event' THEN TRUE
            WHEN 'commit' THEN TRUE
            WHEN 'message' THEN page.published_at < now() - $2::INTERVAL
            ELSE NOT EXISTS (
                    SELECT 1
                    FROM noetl.command AS command
                    WHERE command.execution_id = page.execution_id
                        AND command.event_id = page.event_id
                        AND command.status IN ('PENDING', 'CLAIMED', 'RUNNING')
                )
        END
),

removed AS (
    DELETE FROM noetl.outbox AS stored
    USING dispensable
    WHERE stored.outbox_id = dispensable.outbox_id
        AND stored.status = 'PUBLISHED'
    RETURNING 1
)

SELECT
    (SELECT count(*) FROM page) AS seen,
    (SELECT count(*) FROM removed) AS removed,
    (SELECT max(published_at) FROM page) AS last_published_at,
    (
        SELECT outbox_id
        FROM page
        ORDER BY published_at DESC, outbox_id DESC
        LIMIT 1
    ) AS last_outbox_id;

-- name: measure
-- Rows to be published, those of each kind and all whose time has come, counted up to a bound; the
-- age of the oldest, which no failure makes younger; the number of parked rows.
SELECT
    count(*) FILTER (WHERE o.available_at <= now()) AS waiting,
    greatest(coalesce(extract(EPOCH FROM now() - min(o.created_at)), 0), 0)::FLOAT8
        AS oldest_seconds,
    count(*) FILTER (WHERE o.kind = 'command') AS command,
    count(*) FILTER (WHERE o.kind = 'commit') AS commit,
    count(*) FILTER (WHERE o.kind = 'event') AS event,
    count(*) FILTER (WHERE o.kind = 'message') AS message,
    (SELECT count(*) FROM noetl.outbox WHERE status = 'PARKED') AS parked
FROM (
    SELECT kind, available_at, created_at
    FROM noetl.outbox
    WHERE status IN ('PENDING', 'FAILED', 'IN_FLIGHT')
        -- A command sent with an answer is published only if its worker doesn't report it.
        AND (handed_for IS NULL OR available_at <= now())
    ORDER BY available_at
    LIMIT 100000
) AS o;
