-- Reads of the log and of the state beside those of executions.

-- list: subscription
SELECT
    s.subscription_id, s.path, s.catalog_id, s.state, s.last_event_type, s.updated_at
FROM noetl.subscription AS s;

-- name: find_event
-- The event of an id; ids repeat between executions, so it is the newest one. $1 event id
SELECT
    e.execution_id, e.event_id, e.event_type, e.node_name, e.status, e.result, e.error, e.created_at
FROM noetl.event AS e
WHERE e.event_id = $1
ORDER BY e.created_at DESC
LIMIT 1;

-- name: find_batch_key
-- The key under which a batch of events was sent. $1 execution id, $2 id of one of its events
SELECT r.key
FROM noetl.request_key AS r
WHERE
    r.scope = 'events:' || $1::BIGINT
    AND r.answer -> 'event_ids' @> to_jsonb($2::BIGINT)
LIMIT 1;

-- name: find_cut
-- The position of the last row up to a cutoff, all of which may be null.
-- $1 execution id, $2 event id, $3 position, $4 time
SELECT CASE
    WHEN $2::BIGINT IS NOT NULL
        THEN coalesce(
                (
                    SELECT e.position
                    FROM noetl.event AS e
                    WHERE e.execution_id = $1 AND e.event_id = $2
                ),
                (
                    SELECT max(e.position) FROM noetl.event AS e
                    WHERE e.execution_id = $1 AND e.event_id <= $2
                ),
                0
            )
    WHEN $3::BIGINT IS NOT NULL THEN $3
    WHEN $4::TIMESTAMPTZ IS NOT NULL
        THEN coalesce(
                (
                    SELECT max(e.position) FROM noetl.event AS e
                    WHERE e.execution_id = $1 AND e.created_at <= $4 AT TIME ZONE 'UTC'
                ),
                0
            )
    ELSE 9223372036854775807
END AS position;

-- name: read_replay_rows
-- Rows of a log for its fold. $1 execution id, $2 last position, $3 limit
SELECT
    e.event_id, coalesce(e.event_type, '') AS event_type, e.node_name, e.status,
    e.result -> 'reference' AS reference, e.meta, e.worker_id, e.command_id, e.stage_id,
    e.frame_id, e.aggregate_id, e.aggregate_type
FROM noetl.event AS e
WHERE e.execution_id = $1 AND e.position <= $2
ORDER BY e.position
LIMIT $3;

-- name: find_stuck
-- Executions that run for longer than so many minutes. $1 minutes, $2 limit
SELECT s.execution_id
FROM noetl.execution_state AS s
WHERE
    s.status = 'RUNNING'
    AND s.started_at < clock_timestamp() - make_interval(mins => $1::INTEGER)
ORDER BY s.started_at, s.execution_id
LIMIT $2;

-- name: list_subscriptions
-- All subscriptions by id, up to a limit. $1 limit
SELECT {subscription}
FROM noetl.subscription AS s
ORDER BY s.subscription_id
LIMIT $1;

-- name: find_subscription
-- $1 id
SELECT {subscription}
FROM noetl.subscription AS s
WHERE s.subscription_id = $1;
