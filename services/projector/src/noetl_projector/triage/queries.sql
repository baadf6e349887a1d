-- Failures by what they have in common, and what people did about them.

-- name: group_failures
-- The newest failures, by fingerprint. $1 state, $2 part of a path or null, $3 step or null,
-- $4 since or null, $5 path prefixes or null for all, $6 how many failures are looked at,
-- $7 limit, $8 offset
WITH newest AS MATERIALIZED (
    SELECT f.execution_id, f.path, f.step, f.kind, f.fingerprint, f.message, f.failed_at
    FROM noetl.failure AS f
    WHERE
        CASE $1::TEXT
            WHEN 'open' THEN f.dismissed_at IS NULL AND f.restarted_as IS NULL
            WHEN 'dismissed' THEN f.dismissed_at IS NOT NULL
            WHEN 'restarted' THEN f.restarted_as IS NOT NULL
            ELSE TRUE
        END
        AND ($2::TEXT IS NULL OR strpos(lower(f.path), lower($2)) > 0)
        AND ($3::TEXT IS NULL OR f.step = $3)
        AND ($4::TIMESTAMPTZ IS NULL OR f.failed_at >= $4)
        AND (
            $5::TEXT[] IS NULL
            OR EXISTS (
                SELECT 1 FROM unnest($5::TEXT[]) AS reached (stem)
                WHERE ltrim(f.path, '/') = reached.stem
                    OR starts_with(ltrim(f.path, '/'), reached.stem || '/')
            )
        )
    ORDER BY f.failed_at DESC, f.execution_id DESC
    LIMIT $6
)

SELECT
    n.fingerprint,
    count(*) AS failures,
    min(n.failed_at) AS first_at,
    max(n.failed_at) AS last_at,
    (array_agg(n.path ORDER BY n.failed_at DESC, n.execution_id DESC))[1] AS path,
    (array_agg(n.step ORDER BY n.failed_at DESC, n.execution_id DESC))[1] AS step,
    (array_agg(n.kind ORDER BY n.failed_at DESC, n.execution_id DESC))[1] AS kind,
    (array_agg(n.message ORDER BY n.failed_at DESC, n.execution_id DESC))[1] AS message,
    (array_agg(n.execution_id ORDER BY n.failed_at DESC, n.execution_id DESC))[:5]
        AS execution_ids,
    (SELECT count(*) FROM newest) AS looked_at
FROM newest AS n
GROUP BY n.fingerprint
ORDER BY max(n.failed_at) DESC, n.fingerprint
LIMIT $7 OFFSET $8;

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
