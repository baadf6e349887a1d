-- Failures by fingerprint, for lists: a statement for each state, read by indexes of its own; they
-- differ in nothing but the condition.
--
-- Each looks for the newest failures that its filters let through, in one of a few ways; what the
-- others would read is not read. Without a filter they come from the index by time, with a step
-- from that of its step. A filter on paths is applied to the paths that there are, which come from
-- an index, one look-up each. Where it lets few of them through, the newest failures of each are
-- read; where most, those of all (or of the step) until enough are found. Indexes hold no long
-- texts: failures with such a path or step have indexes of their own.

-- name: group
-- each: group_open in_state = f.dismissed_at IS NULL AND f.restarted_as IS NULL
-- each: group_dismissed in_state = f.dismissed_at IS NOT NULL
-- each: group_restarted in_state = f.restarted_as IS NOT NULL
-- each: group_all in_state = true
-- The newest failures of a state, by fingerprint. $1 part of a path or null,
-- $2 step or null, $3 since or null, $4 patterns of paths with a slash or null for all, $5 how many
-- failures are looked at, $6 limit, $7 offset. The texts of a group are read for those of the page
-- only.
WITH RECURSIVE known AS (
    (
        SELECT f.path FROM noetl.failure AS f
        WHERE
            {in_state}
            AND octet_length(f.path) <= 500
            AND ($1::TEXT IS NOT NULL OR $4::TEXT[] IS NOT NULL)
        ORDER BY f.path
        LIMIT 1
    )
    UNION ALL
    SELECT n.path
    FROM known AS k
    CROSS JOIN LATERAL (
        SELECT f.path FROM noetl.failure AS f
        WHERE
            {in_state}
            AND octet_length(f.path) <= 500
            AND f.path > k.path
        ORDER BY f.path
        LIMIT 1
    ) AS n
),

judged AS MATERIALIZED (
    SELECT
        k.path,
        ($1::TEXT IS NULL OR strpos(lower(k.path), lower($1)) > 0)
        AND ($4::TEXT[] IS NULL OR ltrim(k.path, '/') || '/' LIKE ANY($4)) AS is_wanted
    FROM known AS k
),

wanted AS MATERIALIZED (
    SELECT j.path FROM judged AS j
    WHERE j.is_wanted
),

choice AS MATERIALIZED (
    SELECT
        CASE
            WHEN $1::TEXT IS NULL AND $4::TEXT[] IS NULL THEN 'any'
            WHEN count(*) FILTER (WHERE j.is_wanted) * 2 > count(*) THEN 'most'
            ELSE 'few'
        END AS paths
    FROM judged AS j
),

newest AS MATERIALIZED (
    SELECT u.execution_id, u.fingerprint, u.failed_at
    FROM (
        (
            SELECT f.execution_id, f.fingerprint, f.failed_at
            FROM noetl.failure AS f
            WHERE
                {in_state}
                AND $2::TEXT IS NULL
                AND (SELECT c.paths FROM choice AS c) = 'any'
                AND f.failed_at >= coalesce($3::TIMESTAMPTZ, '-infinity')
            ORDER BY f.failed_at DESC, f.execution_id DESC
            LIMIT $5
        )
        UNION ALL
        (
            SELECT f.execution_id, f.fingerprint, f.failed_at
            FROM noetl.failure AS f
            WHERE
                {in_state}
                AND $2::TEXT IS NULL
                AND (SELECT c.paths FROM choice AS c) = 'most'
                AND ($1::TEXT IS NULL OR strpos(lower(f.path), lower($1)) > 0)
                AND ($4::TEXT[] IS NULL OR ltrim(f.path, '/') || '/' LIKE ANY($4))
                AND f.failed_at >= coalesce($3::TIMESTAMPTZ, '-infinity')
            ORDER BY f.failed_at DESC, f.execution_id DESC
            LIMIT $5
        )
        UNION ALL
        (
            SELECT f.execution_id, f.fingerprint, f.failed_at
            FROM noetl.failure AS f
            WHERE
                {in_state}
                AND octet_length(f.step) <= 500
                AND f.step = $2
                AND (SELECT c.paths FROM choice AS c) = 'any'
                AND f.failed_at >= coalesce($3::TIMESTAMPTZ, '-infinity')
            ORDER BY f.failed_at DESC, f.execution_id DESC
            LIMIT $5
        )
        UNION ALL
        (
            SELECT f.execution_id, f.fingerprint, f.failed_at
            FROM noetl.failure AS f
            WHERE
                {in_state}
                AND octet_length(f.step) <= 500
                AND f.step = $2
                AND (SELECT c.paths FROM choice AS c) = 'most'
                AND ($1::TEXT IS NULL OR strpos(lower(f.path), lower($1)) > 0)
                AND ($4::TEXT[] IS NULL OR ltrim(f.path, '/') || '/' LIKE ANY($4))
                AND f.failed_at >= coalesce($3::TIMESTAMPTZ, '-infinity')
            ORDER BY f.failed_at DESC, f.execution_id DESC
            LIMIT $5
        )
        UNION ALL
        (
            SELECT f.execution_id, f.fingerprint, f.failed_at
            FROM noetl.failure AS f
            WHERE
                {in_state}
                AND octet_length(f.step) > 500
                AND f.step = $2
                AND (SELECT c.paths FROM choice AS c) != 'few'
                AND ($1::TEXT IS NULL OR strpos(lower(f.path), lower($1)) > 0)
                AND ($4::TEXT[] IS NULL OR ltrim(f.path, '/') || '/' LIKE ANY($4))
                AND f.failed_at >= coalesce($3::TIMESTAMPTZ, '-infinity')
            ORDER BY f.failed_at DESC, f.execution_id DESC
            LIMIT $5
        )
        UNION ALL
        SELECT o.execution_id, o.fingerprint, o.failed_at
        FROM wanted AS w
        CROSS JOIN
            LATERAL (
                SELECT f.execution_id, f.fingerprint, f.failed_at
                FROM noetl.failure AS f
                WHERE
                    {in_state}
                    AND octet_length(f.path) <= 500
                    AND f.path = w.path
                    AND f.failed_at >= coalesce($3::TIMESTAMPTZ, '-infinity')
                ORDER BY f.failed_at DESC, f.execution_id DESC
                LIMIT $5
            ) AS o
        WHERE $2::TEXT IS NULL AND (SELECT c.paths FROM choice AS c) = 'few'
        UNION ALL
        SELECT o.execution_id, o.fingerprint, o.failed_at
        FROM wanted AS w
        CROSS JOIN
            LATERAL (
                SELECT f.execution_id, f.fingerprint, f.failed_at
                FROM noetl.failure AS f
                WHERE
                    {in_state}
                    AND octet_length(f.path) <= 500
                    AND f.path = w.path
                    AND f.step = $2
                    AND f.failed_at >= coalesce($3::TIMESTAMPTZ, '-infinity')
                ORDER BY f.failed_at DESC, f.execution_id DESC
                LIMIT $5
            ) AS o
        WHERE $2::TEXT IS NOT NULL AND (SELECT c.paths FROM choice AS c) = 'few'
        UNION ALL
        (
            SELECT f.execution_id, f.fingerprint, f.failed_at
            FROM noetl.failure AS f
            WHERE
                {in_state}
                AND octet_length(f.path) > 500
                AND (SELECT c.paths FROM choice AS c) = 'few'
                AND ($1::TEXT IS NULL OR strpos(lower(f.path), lower($1)) > 0)
                AND ($2::TEXT IS NULL OR f.step = $2)
                AND f.failed_at >= coalesce($3::TIMESTAMPTZ, '-infinity')
                AND ($4::TEXT[] IS NULL OR ltrim(f.path, '/') || '/' LIKE ANY($4))
            ORDER BY f.failed_at DESC, f.execution_id DESC
            LIMIT $5
        )
    ) AS u
    ORDER BY u.failed_at DESC, u.execution_id DESC
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

-- Looked up in a hash: a join may be planned as a nested loop.
placed AS (
    SELECT
        n.fingerprint, n.execution_id,
        row_number() OVER (
            PARTITION BY n.fingerprint ORDER BY n.failed_at DESC, n.execution_id DESC
        ) AS place
    FROM newest AS n
    WHERE (n.fingerprint IN (SELECT p.fingerprint FROM page AS p)) IS TRUE
),

shown AS MATERIALIZED (
    SELECT r.fingerprint, array_agg(r.execution_id ORDER BY r.place) AS execution_ids
    FROM placed AS r
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
