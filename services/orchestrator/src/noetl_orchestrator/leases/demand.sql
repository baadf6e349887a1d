-- Statements about the demand for workers, on the database of a shard.

-- name: count_open_commands
-- The open commands of pools, the fullest pools first. Each half reads the rows of one partial
-- index: commands that have ended cost nothing. Those without a lease wait for a callback and need
-- no worker. Paused commands wait for the end of the pause and not for a worker: they have no age.
-- $1 pool, null for all, $2 most pools, $3 paused pools, $4 paused paths
SELECT
    o.pool,
    sum(o.waiting)::BIGINT AS waiting,
    sum(o.running)::BIGINT AS running,
    coalesce(extract(EPOCH FROM now() - min(o.oldest)), 0)::FLOAT8 AS oldest_seconds
FROM (
    SELECT
        c.pool, count(*) AS waiting, 0 AS running,
        min(c.created_at) FILTER (
            WHERE
            c.pool != ALL($3::TEXT[])
            -- One look-up a command, and none at all without a paused path.
            AND coalesce((
                SELECT FALSE FROM noetl.execution_state AS s
                WHERE cardinality($4::TEXT[]) > 0
                    AND s.execution_id = c.execution_id
                    AND EXISTS (
                        SELECT FROM unnest($4::TEXT[]) AS x (path)
                        WHERE s.path = x.path OR starts_with(s.path, x.path || '/')
                    )
            ), TRUE)
        ) AS oldest
    FROM noetl.command AS c
    WHERE c.status = 'PENDING'
        AND ($1::TEXT IS NULL OR c.pool = $1)
    GROUP BY c.pool
    UNION ALL
    -- A command that its worker could not begin has an empty worker id: it waits for another one.
    SELECT
        c.pool, count(*) FILTER (WHERE c.worker_id = '') AS waiting,
        count(*) FILTER (WHERE c.worker_id IS DISTINCT FROM '') AS running,
        min(c.claimed_at) FILTER (WHERE c.worker_id = '') AS oldest
    FROM noetl.command AS c
    WHERE c.status IN ('CLAIMED', 'RUNNING')
        AND c.lease_until IS NOT NULL
        AND ($1::TEXT IS NULL OR c.pool = $1)
    GROUP BY c.pool
) AS o
GROUP BY o.pool
ORDER BY sum(o.waiting + o.running) DESC, o.pool
LIMIT $2;

-- name: count_by_worker
-- The commands that workers have, of one partial index. $1 most workers
SELECT c.worker_id, count(*) AS running
FROM noetl.command AS c
WHERE c.status IN ('CLAIMED', 'RUNNING')
    AND c.lease_until IS NOT NULL
    AND c.worker_id != ''
GROUP BY c.worker_id
ORDER BY count(*) DESC, c.worker_id
LIMIT $1;
