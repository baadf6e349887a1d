-- The result store and the removal of bodies, on the shard's database.

-- name: insert_result
-- Keeps a result, and with it its body; the same id again is the same result.
-- $1 id, $2 execution id, $3 name, $4 scope, $5 step, $6 data as text or null, $7 bytes, $8
-- sha256, $9 store, $10 location or null, $11 seconds until it is deleted or null
WITH kept AS (
    INSERT INTO noetl.result_store (
        result_id, execution_id, name, scope, source_step, data, bytes, sha256, store, location,
        expires_at
    )
    VALUES (
        $1, $2, $3, $4, $5, ($6::TEXT)::JSONB, $7, $8, $9, $10,
        now() + make_interval(secs => $11)
    )
    ON CONFLICT (result_id) DO NOTHING
    RETURNING store, location
)

DELETE FROM noetl.result_body_removal AS d
USING kept
WHERE d.store = kept.store AND d.location = kept.location;

-- name: delete_expired_results
-- Expired results; their bodies go with them. $1 limit
WITH expired AS (
    SELECT r.result_id
    FROM noetl.result_store AS r
    WHERE r.expires_at <= now()
    ORDER BY r.expires_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
),

deleted AS (
    DELETE FROM noetl.result_store AS r
    USING expired
    WHERE r.result_id = expired.result_id
    RETURNING r.result_id
)

SELECT count(*) AS deleted
FROM deleted;

-- name: announce_body
-- Schedules the removal of a body about to be written; its result will cancel it.
-- $1 store, $2 location, $3 seconds until then
INSERT INTO noetl.result_body_removal AS r (store, location, due_at)
VALUES ($1, $2, now() + make_interval(secs => $3))
ON CONFLICT (store, location) DO UPDATE
    SET due_at = greatest(r.due_at, excluded.due_at);

-- name: forget_removal
-- $1 store, $2 location
DELETE FROM noetl.result_body_removal
WHERE store = $1 AND location = $2;

-- name: keep_named_bodies
-- Removals that are due, although a result names the body, are cancelled.
DELETE FROM noetl.result_body_removal AS d
USING noetl.result_store AS r
WHERE d.due_at <= now() AND r.store = d.store AND r.location = d.location;

-- name: take_removals
-- Claims bodies due for removal by postponing them. $1 limit
WITH due AS (
    SELECT d.store, d.location
    FROM noetl.result_body_removal AS d
    WHERE
        d.due_at <= now()
        AND NOT EXISTS (
            SELECT FROM noetl.result_store AS r
            WHERE r.store = d.store AND r.location = d.location
        )
    ORDER BY d.due_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)

UPDATE noetl.result_body_removal AS d
SET
    tries = d.tries + 1,
    due_at = now() + least(INTERVAL '1 hour', INTERVAL '1 minute' * power(2, least(d.tries, 6)))
FROM due
WHERE d.store = due.store AND d.location = due.location
RETURNING d.store, d.location;

-- name: find_result
-- A result's data as text, or where it lies. $1 execution id, $2 name, $3 result id
SELECT r.data::TEXT AS data, r.store, r.location, r.bytes, r.sha256
FROM noetl.result_store AS r
WHERE r.execution_id = $1 AND r.name = $2 AND r.result_id = $3;

-- name: find_newest_result
-- The newest result of a name. $1 execution id, $2 name
SELECT
    r.result_id, r.scope, r.source_step, r.bytes, r.sha256, r.created_at,
    r.data::TEXT AS data, r.store, r.location
FROM noetl.result_store AS r
WHERE r.execution_id = $1 AND r.name = $2
ORDER BY r.result_id DESC
LIMIT 1;

-- name: list_results
-- Results of an execution, oldest first. $1 execution id, $2 scope or null, $3 name or null,
-- $4 limit
SELECT
    r.result_id, r.name, r.scope, r.source_step, r.store, r.bytes, r.sha256, r.created_at,
    r.expires_at
FROM noetl.result_store AS r
WHERE
    r.execution_id = $1
    AND ($2::TEXT IS NULL OR r.scope = $2)
    AND ($3::TEXT IS NULL OR r.name = $3 OR r.source_step = $3)
ORDER BY r.result_id
LIMIT $4;

-- name: delete_results
-- Their bodies go with them. $1 execution id, $2 scope or null, $3 name or null
WITH gone AS (
    DELETE FROM noetl.result_store AS r
    WHERE
        r.execution_id = $1
        AND ($2::TEXT IS NULL OR r.scope = $2)
        AND ($3::TEXT IS NULL OR r.name = $3 OR r.source_step = $3)
    RETURNING 1
)

SELECT count(*) FROM gone;

-- name: measure_results
-- Number and size of results by store.
SELECT r.store, count(*) AS results, coalesce(sum(r.bytes), 0)::BIGINT AS bytes
FROM noetl.result_store AS r
GROUP BY r.store
ORDER BY r.store;
