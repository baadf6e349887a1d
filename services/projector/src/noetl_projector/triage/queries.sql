-- Failures by what they have in common, and what people did about them.

-- name: group_open
-- The newest failures that nobody has looked at, by fingerprint. $1 part of a path or null,
-- $2 step or null, $3 since or null, $4 patterns of paths with a slash or null for all, $5 how many
-- failures are looked at, $6 limit, $7 offset. There is a statement for each state, read by an
-- index of its own. The texts of a group are read for those of the page only.
WITH newest AS MATERIALIZED (
    SELECT f.execution_id, f.fingerprint, f.failed_at
    FROM noetl.failure AS f
    WHERE
        f.dismissed_at IS NULL AND f.restarted_as IS NULL
        AND ($1::TEXT IS NULL OR strpos(lower(f.path), lower($1)) > 0)
        AND ($2::TEXT IS NULL OR f.step = $2)
        AND f.failed_at >= coalesce($3::TIMESTAMPTZ, '-infinity')
        AND ($4::TEXT[] IS NULL OR ltrim(f.path, '/') || '/' LIKE ANY($4))
    ORDER BY f.failed_at DESC, f.execution_id DESC
    LIMIT $5
),

page AS MATERIALIZED (
    SELECT
        n.fingerprint, count(*) AS failures, min(n.failed_at) AS first_at,
        max(n.failed_at) AS last_at, sum(count(*)) OVER ()::BIGINT AS looked_at
    FROM newest AS n
    GROUP BY n.fingerprint
    ORDER BY max(n.failed_at) DESC, n.fingerprint
    LIMIT $6 OFFSET $7
),

shown AS MATERIALIZED (
    SELECT r.fingerprint, array_agg(r.execution_id ORDER BY r.place) AS execution_ids
    FROM (
        SELECT
            n.fingerprint, n.execution_id,
            row_number() OVER (
                PARTITION BY n.fingerprint ORDER BY n.failed_at DESC, n.execution_id DESC
            ) AS place
        FROM newest AS n
        WHERE n.fingerprint IN (SELECT p.fingerprint FROM page AS p)
    ) AS r
    WHERE r.place <= 5
    GROUP BY r.fingerprint
)

SELECT
    p.fingerprint, p.failures, p.first_at, p.last_at, f.path, f.step, f.kind, f.message,
    s.execution_ids, p.looked_at
FROM page AS p
INNER JOIN shown AS s
    ON s.fingerprint = p.fingerprint
CROSS JOIN
    LATERAL (
        SELECT x.path, x.step, x.kind, x.message FROM noetl.failure AS x
        WHERE x.execution_id = s.execution_ids[1]
        LIMIT 1
    ) AS f
ORDER BY p.last_at DESC, p.fingerprint;

-- name: group_dismissed
-- The same of those that were dismissed. $1 to $7 as above
WITH newest AS MATERIALIZED (
    SELECT f.execution_id, f.fingerprint, f.failed_at
    FROM noetl.failure AS f
    WHERE
        f.dismissed_at IS NOT NULL
        AND ($1::TEXT IS NULL OR strpos(lower(f.path), lower($1)) > 0)
        AND ($2::TEXT IS NULL OR f.step = $2)
        AND f.failed_at >= coalesce($3::TIMESTAMPTZ, '-infinity')
        AND ($4::TEXT[] IS NULL OR ltrim(f.path, '/') || '/' LIKE ANY($4))
    ORDER BY f.failed_at DESC, f.execution_id DESC
    LIMIT $5
),

page AS MATERIALIZED (
    SELECT
        n.fingerprint, count(*) AS failures, min(n.failed_at) AS first_at,
        max(n.failed_at) AS last_at, sum(count(*)) OVER ()::BIGINT AS looked_at
    FROM newest AS n
    GROUP BY n.fingerprint
    ORDER BY max(n.failed_at) DESC, n.fingerprint
    LIMIT $6 OFFSET $7
),

shown AS MATERIALIZED (
    SELECT r.fingerprint, array_agg(r.execution_id ORDER BY r.place) AS execution_ids
    FROM (
        SELECT
            n.fingerprint, n.execution_id,
            row_number() OVER (
                PARTITION BY n.fingerprint ORDER BY n.failed_at DESC, n.execution_id DESC
            ) AS place
        FROM newest AS n
        WHERE n.fingerprint IN (SELECT p.fingerprint FROM page AS p)
    ) AS r
    WHERE r.place <= 5
    GROUP BY r.fingerprint
)

SELECT
    p.fingerprint, p.failures, p.first_at, p.last_at, f.path, f.step, f.kind, f.message,
    s.execution_ids, p.looked_at
FROM page AS p
INNER JOIN shown AS s
    ON s.fingerprint = p.fingerprint
CROSS JOIN
    LATERAL (
        SELECT x.path, x.step, x.kind, x.message FROM noetl.failure AS x
        WHERE x.execution_id = s.execution_ids[1]
        LIMIT 1
    ) AS f
ORDER BY p.last_at DESC, p.fingerprint;

-- name: group_restarted
-- The same of those that were restarted. $1 to $7 as above
WITH newest AS MATERIALIZED (
    SELECT f.execution_id, f.fingerprint, f.failed_at
    FROM noetl.failure AS f
    WHERE
        f.restarted_as IS NOT NULL
        AND ($1::TEXT IS NULL OR strpos(lower(f.path), lower($1)) > 0)
        AND ($2::TEXT IS NULL OR f.step = $2)
        AND f.failed_at >= coalesce($3::TIMESTAMPTZ, '-infinity')
        AND ($4::TEXT[] IS NULL OR ltrim(f.path, '/') || '/' LIKE ANY($4))
    ORDER BY f.failed_at DESC, f.execution_id DESC
    LIMIT $5
),

page AS MATERIALIZED (
    SELECT
        n.fingerprint, count(*) AS failures, min(n.failed_at) AS first_at,
        max(n.failed_at) AS last_at, sum(count(*)) OVER ()::BIGINT AS looked_at
    FROM newest AS n
    GROUP BY n.fingerprint
    ORDER BY max(n.failed_at) DESC, n.fingerprint
    LIMIT $6 OFFSET $7
),

shown AS MATERIALIZED (
    SELECT r.fingerprint, array_agg(r.execution_id ORDER BY r.place) AS execution_ids
    FROM (
        SELECT
            n.fingerprint, n.execution_id,
            row_number() OVER (
                PARTITION BY n.fingerprint ORDER BY n.failed_at DESC, n.execution_id DESC
            ) AS place
        FROM newest AS n
        WHERE n.fingerprint IN (SELECT p.fingerprint FROM page AS p)
    ) AS r
    WHERE r.place <= 5
    GROUP BY r.fingerprint
)

SELECT
    p.fingerprint, p.failures, p.first_at, p.last_at, f.path, f.step, f.kind, f.message,
    s.execution_ids, p.looked_at
FROM page AS p
INNER JOIN shown AS s
    ON s.fingerprint = p.fingerprint
CROSS JOIN
    LATERAL (
        SELECT x.path, x.step, x.kind, x.message FROM noetl.failure AS x
        WHERE x.execution_id = s.execution_ids[1]
        LIMIT 1
    ) AS f
ORDER BY p.last_at DESC, p.fingerprint;

-- name: group_all
-- The same of all. $1 to $7 as above
WITH newest AS MATERIALIZED (
    SELECT f.execution_id, f.fingerprint, f.failed_at
    FROM noetl.failure AS f
    WHERE
        ($1::TEXT IS NULL OR strpos(lower(f.path), lower($1)) > 0)
        AND ($2::TEXT IS NULL OR f.step = $2)
        AND f.failed_at >= coalesce($3::TIMESTAMPTZ, '-infinity')
        AND ($4::TEXT[] IS NULL OR ltrim(f.path, '/') || '/' LIKE ANY($4))
    ORDER BY f.failed_at DESC, f.execution_id DESC
    LIMIT $5
),

page AS MATERIALIZED (
    SELECT
        n.fingerprint, count(*) AS failures, min(n.failed_at) AS first_at,
        max(n.failed_at) AS last_at, sum(count(*)) OVER ()::BIGINT AS looked_at
    FROM newest AS n
    GROUP BY n.fingerprint
    ORDER BY max(n.failed_at) DESC, n.fingerprint
    LIMIT $6 OFFSET $7
),

shown AS MATERIALIZED (
    SELECT r.fingerprint, array_agg(r.execution_id ORDER BY r.place) AS execution_ids
    FROM (
        SELECT
            n.fingerprint, n.execution_id,
            row_number() OVER (
                PARTITION BY n.fingerprint ORDER BY n.failed_at DESC, n.execution_id DESC
            ) AS place
        FROM newest AS n
        WHERE n.fingerprint IN (SELECT p.fingerprint FROM page AS p)
    ) AS r
    WHERE r.place <= 5
    GROUP BY r.fingerprint
)

SELECT
    p.fingerprint, p.failures, p.first_at, p.last_at, f.path, f.step, f.kind, f.message,
    s.execution_ids, p.looked_at
FROM page AS p
INNER JOIN shown AS s
    ON s.fingerprint = p.fingerprint
CROSS JOIN
    LATERAL (
        SELECT x.path, x.step, x.kind, x.message FROM noetl.failure AS x
        WHERE x.execution_id = s.execution_ids[1]
        LIMIT 1
    ) AS f
ORDER BY p.last_at DESC, p.fingerprint;

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
