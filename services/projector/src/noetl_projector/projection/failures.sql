-- Failures, computed from the ends of logs when the read model moves there.

-- name: read_failed
-- Failed executions with the row that ended each. $1 execution ids
SELECT
    s.execution_id, s.path, s.version, s.ended_at, s.error, last.meta, last.error AS event_error
FROM noetl.execution_state AS s
CROSS JOIN
    LATERAL (
        SELECT e.meta, e.error
        FROM noetl.event AS e
        WHERE
            e.execution_id = s.execution_id
            AND e.event_type IN ('playbook.failed', 'playbook_failed', 'workflow.failed')
            -- Only reports that came too late are behind an end.
            AND e.position > s.position - 10000
        ORDER BY e.position
        LIMIT 1
    ) AS last
WHERE
    s.execution_id = ANY($1::BIGINT[])
    AND s.status = 'FAILED'
    AND s.ended_at IS NOT NULL;

-- name: note_failures
-- Writes failures; their dismissals stay. $1 execution ids, $2 paths, $3 versions,
-- $4 steps, $5 kinds, $6 fingerprints, $7 messages, $8 times
INSERT INTO noetl.failure AS stored (
    execution_id, path, version, step, kind, fingerprint, message, failed_at, restarted_as
)
SELECT
    n.execution_id, n.path, n.version, n.step, n.kind, n.fingerprint, n.message, n.failed_at,
    (
        SELECT max(r.execution_id)
        FROM noetl.restart AS r
        INNER JOIN noetl.execution_state AS s
            ON s.execution_id = r.execution_id
        WHERE r.origin_execution_id = n.execution_id
    ) AS restarted_as
FROM
    unnest(
        $1::BIGINT[], $2::TEXT[], $3::INTEGER[], $4::TEXT[], $5::TEXT[], $6::TEXT[], $7::TEXT[],
        $8::TIMESTAMPTZ[]
    ) AS n (execution_id, path, version, step, kind, fingerprint, message, failed_at)
ORDER BY n.execution_id
ON CONFLICT (execution_id) DO UPDATE
    SET
        path = excluded.path,
        version = excluded.version,
        step = excluded.step,
        kind = excluded.kind,
        fingerprint = excluded.fingerprint,
        message = excluded.message,
        failed_at = excluded.failed_at,
        restarted_as = coalesce(excluded.restarted_as, stored.restarted_as);
