-- Statements about schedules, on the cluster database. Callers pass the current time, which is the
-- database's except in tests.

-- list: schedule
SELECT
    s.schedule_id, s.path, s.catalog_id, s.version, s.spec, s.owner, s.namespace, s.registered_at,
    s.paused_at, s.paused_by, s.ended, s.next_at, s.look_at
FROM noetl.schedule AS s;

-- list: firing
SELECT
    f.schedule_id, f.scheduled_at, f.state, f.execution_id, f.origin, f.due_at, f.decided_at,
    f.started_at, f.reason, f.count, f.is_awaited, f.outcome
FROM noetl.schedule_firing AS f;

-- name: now
SELECT clock_timestamp();

-- name: keep_schedule
-- Stores the schedule of a version that was just registered, in place of the path's old schedule.
-- $1 id of a new schedule, $2 path, $3 catalog id, $4 version, $5 spec, $6 owner, $7 namespace,
-- $8 whether paused (null: unchanged), $9 next time, $10 time of the next decision, $11 now,
-- $12 reason of the end
INSERT INTO noetl.schedule AS s (
    schedule_id, path, catalog_id, version, spec, owner, namespace, registered_at,
    paused_at, paused_by, next_at, look_at, ended
)
VALUES (
    $1, $2, $3, $4, $5, $6, $7, $11,
    CASE WHEN $8::BOOLEAN THEN $11::TIMESTAMPTZ END, CASE WHEN $8::BOOLEAN THEN $6 END,
    $9, $10, $12
)
ON CONFLICT (path) DO UPDATE
    SET
        catalog_id = excluded.catalog_id,
        version = excluded.version,
        spec = excluded.spec,
        owner = excluded.owner,
        namespace = excluded.namespace,
        registered_at = excluded.registered_at,
        paused_at = CASE
            WHEN $8::BOOLEAN THEN coalesce(s.paused_at, excluded.paused_at)
            WHEN $8::BOOLEAN IS NULL THEN s.paused_at
        END,
        paused_by = CASE
            WHEN $8::BOOLEAN THEN coalesce(s.paused_by, excluded.paused_by)
            WHEN $8::BOOLEAN IS NULL THEN s.paused_by
        END,
        next_at = excluded.next_at,
        look_at = excluded.look_at,
        ended = excluded.ended,
        lease = NULL;

-- name: lock_schedule
-- Locks the schedule of a path until the transaction ends. $1 path
SELECT {schedule}
FROM noetl.schedule AS s
WHERE s.path = $1
FOR UPDATE;

-- name: replace_schedule
-- Ends a schedule because its path has a document of another kind. $1 path
UPDATE noetl.schedule
SET ended = 'its path belongs to another document now', look_at = NULL, next_at = NULL, lease = NULL
WHERE path = $1 AND ended IS NULL;

-- name: lease_due
-- Leases schedules that need a decision, each to one replica.
-- $1 now, $2 limit, $3 seconds of the lease, $4 lease
WITH due AS (
    SELECT s.schedule_id
    FROM noetl.schedule AS s
    WHERE s.look_at <= $1::TIMESTAMPTZ
    ORDER BY s.look_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
),

leased AS (
    UPDATE noetl.schedule AS s
    SET look_at = $1::TIMESTAMPTZ + make_interval(secs => $3::DOUBLE PRECISION), lease = $4
    FROM due AS d
    WHERE s.schedule_id = d.schedule_id
    RETURNING s.*
)

SELECT
    {schedule},
    (
        EXISTS (
            SELECT FROM noetl.catalog AS c
            WHERE c.catalog_id = s.catalog_id AND c.deleted_at IS NULL
        )
        AND NOT EXISTS (
            SELECT FROM noetl.catalog AS c
            WHERE c.path = s.path AND c.version > s.version AND c.deleted_at IS NULL
        )
    ) AS is_in_force
FROM leased AS s
ORDER BY s.schedule_id;

-- name: find_next_look
-- The time at which the next schedule needs a decision, or null.
SELECT min(s.look_at) FROM noetl.schedule AS s;

-- name: list_open_firings
-- Unsettled firings, oldest first: starts without an answer, queued firings, and executions for
-- whose end later firings wait. $1 schedules, $2 limit for each
SELECT f.*
FROM unnest($1::BIGINT[]) AS a (schedule_id)
CROSS JOIN LATERAL (
    SELECT {firing}
    FROM noetl.schedule_firing AS f
    WHERE
        f.schedule_id = a.schedule_id
        AND (f.state IN ('starting', 'queued') OR f.is_awaited)
    ORDER BY f.scheduled_at
    LIMIT $2
) AS f;

-- name: resolve_playbooks
-- The stored versions of playbooks. $1 paths, $2 versions or null for the newest
SELECT a.place, c.catalog_id, c.path, c.version
FROM unnest($1::TEXT[], $2::INTEGER[]) WITH ORDINALITY AS a (path, version, place)
CROSS JOIN LATERAL (
    SELECT c.catalog_id, c.path, c.version
    FROM noetl.catalog AS c
    WHERE
        c.path = a.path
        AND c.deleted_at IS NULL
        AND (a.version IS NULL OR c.version = a.version)
    ORDER BY c.version DESC
    LIMIT 1
) AS c;

-- name: insert_firings
-- Stores decisions about undecided times. A backfill also replaces decisions that started nothing.
-- $1 schedules, $2 times, $3 states, $4 execution ids, $5 due times, $6 reasons, $7 counts,
-- $8 whether awaited, $9 origin, $10 now
INSERT INTO noetl.schedule_firing AS f (
    schedule_id, scheduled_at, state, execution_id, due_at, reason, count, is_awaited, origin,
    decided_at
)
SELECT
    n.schedule_id, n.scheduled_at, n.state, n.execution_id, n.due_at, n.reason, n.count,
    n.is_awaited, $9, $10
FROM
    unnest(
        $1::BIGINT[], $2::TIMESTAMPTZ[], $3::TEXT[], $4::BIGINT[], $5::TIMESTAMPTZ[], $6::TEXT[],
        $7::INTEGER[], $8::BOOLEAN[]
    ) AS n (
        schedule_id, scheduled_at, state, execution_id, due_at, reason, count, is_awaited
    )
ORDER BY n.schedule_id, n.scheduled_at
ON CONFLICT (schedule_id, scheduled_at) DO UPDATE
    SET
        state = excluded.state,
        execution_id = coalesce(f.execution_id, excluded.execution_id),
        reason = excluded.reason,
        origin = excluded.origin,
        is_awaited = excluded.is_awaited,
        count = 1,
        decided_at = excluded.decided_at
    WHERE excluded.origin = 'backfill' AND f.state IN ('skipped', 'missed', 'failed')
RETURNING f.schedule_id, f.scheduled_at, f.execution_id;

-- name: settle_firings
-- Stores outcomes of starts and of executions.
-- $1 schedules, $2 times, $3 states, $4 execution ids or
-- null for those there are, $5 reasons, $6 when started or null, $7 whether awaited,
-- $8 outcomes or null
UPDATE noetl.schedule_firing AS f
SET
    state = n.state,
    execution_id = coalesce(n.execution_id, f.execution_id),
    reason = n.reason,
    started_at = coalesce(f.started_at, n.started_at),
    is_awaited = n.is_awaited,
    outcome = coalesce(n.outcome, f.outcome)
FROM
    unnest(
        $1::BIGINT[], $2::TIMESTAMPTZ[], $3::TEXT[], $4::BIGINT[], $5::TEXT[], $6::TIMESTAMPTZ[],
        $7::BOOLEAN[], $8::TEXT[]
    ) AS n (
        schedule_id, scheduled_at, state, execution_id, reason, started_at, is_awaited, outcome
    )
WHERE f.schedule_id = n.schedule_id AND f.scheduled_at = n.scheduled_at;

-- name: renew
-- Renews leases of this replica. $1 schedules, $2 lease, $3 until
UPDATE noetl.schedule
SET look_at = $3
WHERE schedule_id = any($1::BIGINT[]) AND lease = $2;

-- name: release
-- Releases leases of this replica. $1 schedules, $2 lease, $3 next times,
-- $4 times of the next decisions, $5 reasons of the end
UPDATE noetl.schedule AS s
SET next_at = n.next_at, look_at = n.look_at, ended = n.ended, lease = NULL
FROM
    unnest($1::BIGINT[], $3::TIMESTAMPTZ[], $4::TIMESTAMPTZ[], $5::TEXT[])
        AS n (schedule_id, next_at, look_at, ended)
WHERE s.schedule_id = n.schedule_id AND s.lease = $2;

-- name: list_schedules
-- $1 path or null, $2 path prefixes or null for all, $3 limit, $4 last path of the previous page
SELECT {schedule}
FROM noetl.schedule AS s
WHERE ($1::TEXT IS NULL OR s.path = $1)
    AND ($4::TEXT IS NULL OR s.path > $4)
    AND (
        $2::TEXT[] IS NULL
        OR EXISTS (
            SELECT 1 FROM unnest($2::TEXT[]) AS reached (stem)
            WHERE ltrim(s.path, '/') = reached.stem
                OR starts_with(ltrim(s.path, '/'), reached.stem || '/')
        )
    )
ORDER BY s.path
LIMIT $3;

-- name: find_schedule
-- $1 id
SELECT {schedule}
FROM noetl.schedule AS s
WHERE s.schedule_id = $1;

-- name: set_paused
-- Pauses or resumes a schedule; times during a pause are not recorded. $1 id, $2 whether paused,
-- $3 caller, $4 next time, $5 time of the next decision, $6 now
UPDATE noetl.schedule AS s
SET
    paused_at = CASE WHEN $2::BOOLEAN THEN coalesce(s.paused_at, $6::TIMESTAMPTZ) END,
    paused_by = CASE WHEN $2::BOOLEAN THEN coalesce(s.paused_by, $3::TEXT) END,
    next_at = $4,
    look_at = $5,
    lease = NULL
WHERE s.schedule_id = $1 AND (s.paused_at IS NULL) = $2::BOOLEAN
RETURNING s.schedule_id;

-- name: firings
-- each: list_firings in_state = true
-- each: list_firings_in in_state = f.state = $4
-- $1 schedule, $2 before this time or null, $3 limit, $4 state
SELECT {firing}
FROM noetl.schedule_firing AS f
WHERE
    f.schedule_id = $1
    AND {in_state}
    AND f.scheduled_at < coalesce($2::TIMESTAMPTZ, 'infinity')
ORDER BY f.scheduled_at DESC
LIMIT $3;

-- name: list_firings_of
-- $1 schedule, $2 times
SELECT {firing}
FROM noetl.schedule_firing AS f
WHERE f.schedule_id = $1 AND f.scheduled_at = ANY($2::TIMESTAMPTZ[])
ORDER BY f.scheduled_at;

-- name: delete_old_firings
-- $1 days, $2 limit
DELETE FROM noetl.schedule_firing
WHERE
    (schedule_id, scheduled_at) IN (
        SELECT f.schedule_id, f.scheduled_at
        FROM noetl.schedule_firing AS f
        WHERE
            f.decided_at < clock_timestamp() - make_interval(days => $1::INTEGER)
            AND f.state NOT IN ('starting', 'queued')
        ORDER BY f.decided_at
        LIMIT $2::INTEGER
    );
