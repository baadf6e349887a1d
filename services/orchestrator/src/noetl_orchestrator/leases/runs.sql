-- Statements about runs of commands, on the database of a shard.

-- name: find_runs_over
-- Runs whose command has ended, or was given to another run. $1 execution ids, $2 event ids of the
-- commands, $3 attempts.
SELECT w.execution_id, w.event_id, w.attempts
FROM unnest($1::BIGINT[], $2::BIGINT[], $3::INTEGER[]) AS w (execution_id, event_id, attempts)
INNER JOIN noetl.command AS c
    ON c.execution_id = w.execution_id
    AND c.event_id = w.event_id
WHERE c.status NOT IN ('PENDING', 'CLAIMED', 'RUNNING')
    OR c.attempt - 1 > w.attempts;
