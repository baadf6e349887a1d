-- Triage of failures: open ones of a group, and their dismissal.

-- name: failures_of
-- Open failures of a group, oldest first. $1 fingerprint, $2 path prefixes or null for all,
-- $3 limit
SELECT f.execution_id
FROM noetl.failure AS f
WHERE
    f.fingerprint = $1
    AND f.dismissed_at IS NULL
    AND f.restarted_as IS NULL
    AND (
        $2::TEXT[] IS NULL
        OR EXISTS (
            SELECT 1 FROM unnest($2::TEXT[]) AS reached (stem)
            WHERE ltrim(f.path, '/') = reached.stem
                OR starts_with(ltrim(f.path, '/'), reached.stem || '/')
        )
    )
ORDER BY f.execution_id
LIMIT $3;

-- name: dismiss
-- Dismisses failures. $1 execution ids, $2 who
WITH dismissed AS (
    UPDATE noetl.failure AS f
    SET dismissed_at = clock_timestamp(), dismissed_by = $2
    WHERE
        f.execution_id = ANY($1::BIGINT[])
        AND f.dismissed_at IS NULL
    RETURNING 1
)

SELECT count(*) FROM dismissed;
