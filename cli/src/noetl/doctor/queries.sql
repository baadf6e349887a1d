-- Statements of the doctor. They read only, and each reads little where all is well.

-- name: read_schema
-- The newest migration.
SELECT max(version) FROM noetl.schema_migrations;

-- name: read_closed
-- Why services must not serve the database; no row when they may.
SELECT coalesce(obj_description(n.oid, 'pg_namespace'), 'no reason is given')
FROM pg_namespace AS n
WHERE n.nspname = 'noetl_closed';

-- name: read_identity
-- Which shard the database was filled as; no row before its first service.
SELECT shard_index, shard_count FROM noetl.shard_identity;

-- name: find_stuck
-- Running executions of which nothing is open: no command, timer, message, child or pause.
-- $1 for how long, $2 limit
SELECT s.execution_id, s.path, s.current_step, s.updated_at
FROM noetl.execution_state AS s
WHERE
    s.status = 'RUNNING'
    AND s.updated_at < now() - $1::INTERVAL
    AND NOT EXISTS (
        SELECT FROM noetl.command AS c
        WHERE
            c.execution_id = s.execution_id
            AND c.status IN ('PENDING', 'CLAIMED', 'RUNNING')
    )
    AND NOT EXISTS (SELECT FROM noetl.timer AS t WHERE t.execution_id = s.execution_id)
    AND NOT EXISTS (
        SELECT FROM noetl.outbox AS o
        WHERE
            o.execution_id = s.execution_id
            AND o.status IN ('PENDING', 'FAILED', 'IN_FLIGHT')
    )
    AND NOT EXISTS (
        SELECT FROM noetl.execution_state AS child
        WHERE child.parent_execution_id = s.execution_id AND child.status = 'RUNNING'
    )
    AND coalesce((
        SELECT e.event_type FROM noetl.event AS e
        WHERE
            e.execution_id = s.execution_id
            AND e.event_type IN ('execution.paused', 'execution.resumed')
        ORDER BY e.position DESC
        LIMIT 1
    ), '') != 'execution.paused'
ORDER BY s.execution_id
LIMIT $2;

-- name: count_overdue
-- Held commands whose lease is over, and timers that are due, for longer than $1.
SELECT
    (
        SELECT count(*) FROM noetl.command AS c
        WHERE c.status IN ('CLAIMED', 'RUNNING') AND c.lease_until < now() - $1::INTERVAL
    ) AS leases,
    (SELECT count(*) FROM noetl.timer AS t WHERE t.due_at < now() - $1::INTERVAL) AS timers;

-- name: list_waiting_pools
-- Pools with commands that wait, how many of them a pause withholds, and for how many seconds the
-- oldest of the others waits. $1 paused pools, $2 paused paths
SELECT
    o.pool, count(*) AS waiting, count(*) FILTER (WHERE o.is_withheld) AS withheld,
    coalesce(
        extract(EPOCH FROM now() - min(o.created_at) FILTER (WHERE NOT o.is_withheld)), 0
    )::FLOAT8 AS oldest_seconds
FROM (
    SELECT
        c.pool, c.created_at,
        c.pool = ANY($1::TEXT[]) OR coalesce((
            SELECT TRUE FROM noetl.execution_state AS s
            WHERE
                cardinality($2::TEXT[]) > 0
                AND s.execution_id = c.execution_id
                AND EXISTS (
                    SELECT FROM unnest($2::TEXT[]) AS x (path)
                    WHERE s.path = x.path OR starts_with(s.path, x.path || '/')
                )
        ), FALSE) AS is_withheld
    FROM noetl.command AS c
    WHERE c.status = 'PENDING'
) AS o
GROUP BY o.pool
ORDER BY o.pool;

-- name: list_workers
-- Registered workers with the names of their pools, and for how long they have been silent.
SELECT
    r.name, r.labels ->> 'pool_name' AS pool_name,
    extract(EPOCH FROM now() - r.heartbeat)::FLOAT8 AS silent_seconds
FROM noetl.runtime AS r
WHERE r.kind = 'worker_pool' AND r.deregistered_at IS NULL
ORDER BY r.heartbeat DESC
LIMIT 1000;

-- name: list_pauses
-- Pools and paths whose commands are withheld.
SELECT p.kind, p.name, p.reason FROM noetl.pause AS p
ORDER BY p.kind, p.name;

-- name: measure_outbox
-- Rows that are older than $1 and not published, by kind, with the oldest's age and error.
SELECT
    o.kind, count(*) AS waiting,
    extract(EPOCH FROM now() - min(o.created_at))::FLOAT8 AS oldest_seconds,
    (array_agg(o.last_error ORDER BY o.created_at) FILTER (WHERE o.last_error IS NOT NULL))[1]
        AS last_error
FROM (
    SELECT kind, created_at, last_error
    FROM noetl.outbox
    WHERE status IN ('PENDING', 'FAILED', 'IN_FLIGHT') AND created_at < now() - $1::INTERVAL
    ORDER BY available_at
    LIMIT 100000
) AS o
GROUP BY o.kind
ORDER BY o.kind;

-- name: list_parked
-- Rows of the outbox that were given up in the last $1, newest first. $2 limit
SELECT o.kind, o.execution_id, o.last_error, count(*) OVER () AS total
FROM noetl.outbox AS o
WHERE o.status = 'PARKED' AND o.updated_at > now() - $1::INTERVAL
ORDER BY o.outbox_id DESC
LIMIT $2;

-- name: count_behind
-- Executions whose row of the read model has been behind their log for longer than $1, among those
-- that run or ended in the last hour. $2 limit
SELECT count(*) FROM (
    (
        SELECT s.execution_id
        FROM noetl.execution_state AS s
        LEFT JOIN noetl.execution AS e
            ON e.execution_id = s.execution_id
        WHERE
            s.status = 'RUNNING'
            AND s.updated_at < now() - $1::INTERVAL
            AND (e.position IS NULL OR e.position < s.position)
        LIMIT $2
    )
    UNION ALL
    (
        SELECT s.execution_id
        FROM noetl.execution_state AS s
        LEFT JOIN noetl.execution AS e
            ON e.execution_id = s.execution_id
        WHERE
            s.ended_at BETWEEN now() - INTERVAL '1 hour' AND now() - $1::INTERVAL
            AND (e.position IS NULL OR e.position < s.position)
        LIMIT $2
    )
) AS behind;

-- name: count_outside_partitions
-- Rows of the log in the default partition. $1 most
SELECT count(*) FROM (SELECT FROM noetl.event_default LIMIT $1) AS outside;
