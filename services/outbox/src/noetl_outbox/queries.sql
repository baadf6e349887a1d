-- Statements of the outbox relay, on the database of its shard.

-- name: read_clock
SELECT clock_timestamp();

-- name: claim_due_rows
-- Claims due rows, oldest first, and skips rows that another relay is claiming. During the grace
-- only the orchestrator that committed a row publishes it. A row in flight becomes due again when
-- its lease ends, at its available_at. Events are read from the log.
-- $1 grace, $2 lease, $3 maximum number of rows, $4 kinds of rows
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
-- Events that are relayed to outside readers, in the order of their commits.
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
-- Marks rows as published, except rows that were put back under another message id meanwhile.
-- Rows without a sequence need not be published again (O5): they are deleted immediately, which
-- costs half of an update and leaves nothing to purge.
-- The commit doesn't wait for the disk, so that commits of steps don't queue behind it. If a crash
-- of the server undoes a mark, its row is published again under the same message id.
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
-- $1 outbox ids, $2 reasons, $3 pauses before the next attempt
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
-- Parks a row for good and, if a message is given, inserts the message that fails its execution.
-- The negative event id distinguishes the message from the row. Its outbox id is the negative id
-- of the row, because the service has no right to use the sequence.
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
-- Puts back notifications of unclaimed commands that the stream no longer holds (O5). The same
-- stream may still discard the old message id as a duplicate, so the notification gets a new id; a
-- recreated stream has never seen the old id.
-- $1 creation time of the stream, $2 its first and $3 its last sequence, $4 the time when these
-- were read, $5 grace of the sweep
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
-- Puts back recent events that the stream no longer holds, for its subscribers.
-- $1 creation time of the stream, $2 its last sequence, $3 the time when these were read, $4 oldest
-- age of an event, $5 grace of the sweep, $6 maximum number of rows
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
-- Puts back messages to executions that a lost ingress stream may not have delivered. A message
-- that is delivered twice has no second effect.
-- $1 creation time of the stream, $2 its last sequence, $3 the time when these were read, $4 grace
-- of the sweep
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
-- Reads one page of old published rows and deletes the rows that are no longer needed. Unfinished
-- commands keep their rows (O5); messages have a longer retention.
-- $1 retention, $2 retention of messages, $3 rows of a page, $4 and $5 position at which the
-- previous page ended
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
-- The numbers of unpublished rows by kind and of due rows, both up to a bound; the age of the
-- oldest row since its commit, failed attempts included; the number of parked rows.
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
        -- A command that was sent with an answer is published only if its worker never reports.
        AND (handed_for IS NULL OR available_at <= now())
    ORDER BY available_at
    LIMIT 100000
) AS o;
