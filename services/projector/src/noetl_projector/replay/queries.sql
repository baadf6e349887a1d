-- Reads of a log for its replay.

-- name: find_cutoff
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
