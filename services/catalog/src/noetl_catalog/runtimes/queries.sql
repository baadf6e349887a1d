-- Statements about runtimes and machine ids, on the cluster database.

-- list: registered
-- The columns of a runtime in answers.
SELECT
    runtime_id, name, kind, uri, status, labels, capabilities, capacity, runtime, heartbeat,
    created_at, updated_at
FROM noetl.runtime;

-- name: register_runtime
-- Writes a registration. If the instance differs from the stored one, the runtime is a new process,
-- and its start time voids older claims. A registration without an instance changes neither.
-- While a runtime is alive, only the caller that registered it may register its name again; for
-- other callers there is no row.
-- $1 runtime id if new, $2 name, $3 kind, $4 uri, $5 status, $6 labels, $7 capabilities,
-- $8 capacity, $9 runtime, $10 instance or null;
-- $11 whether it was sent to a gateway, $12 caller or null, $13 whether the caller may replace
-- runtimes of others, $14 time without a heartbeat after which a name is free
INSERT INTO noetl.runtime AS stored (
    runtime_id, name, kind, uri, status, labels, capabilities, capacity, runtime, instance,
    over_edge, registered_by
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (kind, name) DO UPDATE
    SET
        uri = excluded.uri,
        status = excluded.status,
        labels = excluded.labels,
        capabilities = excluded.capabilities,
        capacity = excluded.capacity,
        runtime = excluded.runtime,
        over_edge = excluded.over_edge,
        heartbeat = now(),
        updated_at = now(),
        deregistered_at = NULL,
        instance = coalesce(excluded.instance, stored.instance),
        process_since = CASE
            WHEN excluded.instance IS NOT NULL
                AND excluded.instance IS DISTINCT FROM stored.instance
                THEN now()
            ELSE stored.process_since
        END,
        registered_by = coalesce(excluded.registered_by, stored.registered_by)
    WHERE $13::BOOLEAN
    OR stored.registered_by IS NULL
    OR stored.registered_by = $12
    OR stored.deregistered_at IS NOT NULL
    OR stored.heartbeat < now() - $14::INTERVAL
RETURNING {registered};

-- name: touch_runtimes
-- Records many heartbeats. Rows are locked in one order, so that two batches can't deadlock.
-- A deregistered runtime stays deregistered. $1 kinds, $2 names, $3 whether sent to a gateway
WITH beats AS (
    SELECT kind, name, bool_or(over_edge) AS over_edge
    FROM unnest($1::TEXT[], $2::TEXT[], $3::BOOLEAN[]) AS beat (kind, name, over_edge)
    GROUP BY kind, name
),

held AS (
    SELECT
        stored.runtime_id, stored.kind, stored.name, stored.deregistered_at, beats.over_edge
    FROM noetl.runtime AS stored
    INNER JOIN beats ON stored.kind = beats.kind AND stored.name = beats.name
    ORDER BY stored.runtime_id
    FOR NO KEY UPDATE OF stored
),

touched AS (
    UPDATE noetl.runtime AS stored
    SET heartbeat = now(), updated_at = now(), over_edge = held.over_edge
    FROM held
    WHERE stored.runtime_id = held.runtime_id
        AND held.deregistered_at IS NULL
)

SELECT kind, name, deregistered_at IS NULL AS is_alive
FROM held;

-- name: insert_heard_runtimes
-- Inserts rows for heartbeats of runtimes whose row was lost.
-- $1 runtime ids, $2 kinds, $3 names, $4 whether sent to a gateway
INSERT INTO noetl.runtime (runtime_id, kind, name, status, over_edge)
SELECT runtime_id, kind, name, 'ready', over_edge
FROM unnest($1::BIGINT[], $2::TEXT[], $3::TEXT[], $4::BOOLEAN[])
        AS beat (runtime_id, kind, name, over_edge)
ORDER BY kind, name
ON CONFLICT (kind, name) DO NOTHING;

-- name: deregister_runtime
-- Keeps the row, so that leases end for a worker that has left. A caller may deregister only its
-- own runtimes. $1 kind, $2 name, $3 caller or null, $4 whether it may deregister those of others
UPDATE noetl.runtime
SET deregistered_at = now(), left_at = now(), updated_at = now(), status = 'offline'
WHERE kind = $1
    AND name = $2
    AND deregistered_at IS NULL
    AND ($4::BOOLEAN OR registered_by IS NULL OR registered_by = $3)
RETURNING runtime_id;

-- name: is_registered
-- $1 kind, $2 name
SELECT EXISTS(
    SELECT 1 FROM noetl.runtime
    WHERE kind = $1 AND name = $2 AND deregistered_at IS NULL
);

-- name: list_runtimes
-- $1 kind, $2 status or null, $3 part of the name or null, $4 limit
SELECT {registered}
FROM noetl.runtime
WHERE kind = $1
    AND ($2::TEXT IS NULL OR status = $2)
    AND ($3::TEXT IS NULL OR position($3 IN name) > 0)
    AND deregistered_at IS NULL
ORDER BY kind, name
LIMIT $4;

-- name: list_liveness
-- Heartbeats of workers and gateways, on which leases depend, and pauses, as 'pause path' and
-- 'pause pool'. Times are of this database. Without any of them there is one row with only the
-- current time.
WITH known AS (
    SELECT
        runtime.kind, runtime.name, runtime.heartbeat AS heartbeat_at, runtime.process_since,
        runtime.runtime ->> 'instance' AS instance,
        runtime.deregistered_at, runtime.left_at, runtime.over_edge
    FROM noetl.runtime AS runtime
    WHERE runtime.kind IN ('worker_pool', 'server_api')
    UNION ALL
    SELECT 'pause ' || pause.kind, pause.name, NULL, NULL, NULL, NULL, NULL, NULL
    FROM noetl.pause AS pause
)

SELECT
    clock.now, known.kind, known.name, known.heartbeat_at, known.process_since, known.instance,
    known.deregistered_at, known.left_at, known.over_edge
FROM (SELECT now() AS now) AS clock
LEFT JOIN known ON TRUE;

-- name: put_pause
-- $1 kind, $2 name, $3 reason, $4 caller, $5 maximum number of pauses
INSERT INTO noetl.pause AS stored (kind, name, reason, actor)
SELECT $1::TEXT, $2::TEXT, $3::TEXT, $4::TEXT
WHERE (SELECT count(*) FROM noetl.pause) < $5::INTEGER
ON CONFLICT (kind, name) DO UPDATE
    SET reason = excluded.reason, actor = excluded.actor
RETURNING kind, name, reason, actor, since;

-- name: lift_pause
-- $1 kind, $2 name
DELETE FROM noetl.pause
WHERE kind = $1 AND name = $2
RETURNING name;

-- name: list_pauses
SELECT kind, name, reason, actor, since
FROM noetl.pause
ORDER BY kind, name;

-- name: delete_silent_runtimes
-- $1 time without a heartbeat
DELETE FROM noetl.runtime
WHERE heartbeat < now() - $1::INTERVAL;

-- name: lock_machines
-- Serialises leases until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('noetl.machine_lease', 0));

-- name: lease_machine
-- Leases the id that the holder already has, or an unused id, or the id whose lease expired longest
-- ago. The former holder of that id generated ids until the end of its lease at most, with a clock
-- that differs by at most the allowance. Id 0 is the default of other generators and stays unused.
-- $1 holder, $2 the holder's high water, $3 lease, $4 clock allowance
WITH candidates AS (
    SELECT machine_id, 1 AS preference, lease_until
    FROM noetl.machine_lease
    WHERE holder = $1
    UNION ALL
    SELECT number, 2, NULL
    FROM generate_series(1, 1023) AS number
    WHERE NOT EXISTS (SELECT 1 FROM noetl.machine_lease WHERE machine_id = number)
    UNION ALL
    SELECT machine_id, 3, lease_until
    FROM noetl.machine_lease
    WHERE lease_until < now()
),

chosen AS (
    SELECT machine_id
    FROM candidates
    ORDER BY preference, lease_until, machine_id
    LIMIT 1
)

INSERT INTO noetl.machine_lease AS stored (machine_id, holder, lease_until, high_water_ms)
SELECT machine_id, $1::TEXT, now() + $3::INTERVAL, $2::BIGINT
FROM chosen
ON CONFLICT (machine_id) DO UPDATE
    SET
        holder = excluded.holder,
        lease_until = excluded.lease_until,
        high_water_ms = greatest(
            stored.high_water_ms, excluded.high_water_ms,
            CASE
                WHEN stored.holder != excluded.holder
                    THEN (extract(EPOCH FROM stored.lease_until + $4::INTERVAL) * 1000)::BIGINT
            END
        )
RETURNING
    machine_id, high_water_ms,
    (extract(EPOCH FROM clock_timestamp()) * 1000)::BIGINT AS now_ms;

-- name: renew_machine
-- $1 machine id, $2 holder, $3 high water, $4 lease
UPDATE noetl.machine_lease
SET
    lease_until = now() + $4::INTERVAL,
    high_water_ms = greatest(high_water_ms, $3)
WHERE machine_id = $1
    AND holder = $2
RETURNING
    machine_id, high_water_ms,
    (extract(EPOCH FROM clock_timestamp()) * 1000)::BIGINT AS now_ms;

-- name: delete_silent_workers
-- Deletes worker pools without a heartbeat. $1 minutes
WITH removed AS (
    DELETE FROM noetl.runtime
    WHERE
        kind = 'worker_pool'
        AND heartbeat < now() - make_interval(mins => $1::INTEGER)
    RETURNING 1
)

SELECT count(*) FROM removed;
