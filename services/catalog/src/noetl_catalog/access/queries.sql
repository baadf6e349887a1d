-- Statements about keys, grants and the access audit, on the cluster database.

-- list: key_columns
-- The fields of `KeyBody`.
SELECT
    key_id, name, roles, grants, namespaces, pools, created_at, created_by, expires_at,
    last_used_at, revoked_at
FROM noetl.api_key;

-- list: grant_columns
-- The fields of `GrantBody`.
SELECT
    grant_id::TEXT AS grant_id, kind, issuer, claim, rank, roles, grants, namespaces, pools,
    created_at, created_by
FROM noetl.access_grant;

-- name: insert_key
-- $1 id, $2 SHA-256, $3 name, $4 roles, $5 rights, $6 namespaces, $7 pools, $8 creator, $9 expiry
INSERT INTO noetl.api_key (
    key_id, sha256, name, roles, grants, namespaces, pools, created_by, expires_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
RETURNING {key_columns};

-- name: ensure_key
-- Stores a key of the settings. A revoked key becomes valid again only with another secret.
-- $1 id, $2 SHA-256, $3 name, $4 roles
INSERT INTO noetl.api_key AS k (key_id, sha256, name, roles, namespaces, pools)
VALUES ($1, $2, $3, $4, ARRAY[''], ARRAY['*'])
ON CONFLICT (key_id) DO UPDATE
    SET
        sha256 = excluded.sha256,
        name = excluded.name,
        roles = excluded.roles,
        revoked_at = NULL
    WHERE k.sha256 != excluded.sha256;

-- name: find_key
-- $1 id
SELECT
    {key_columns},
    sha256,
    coalesce(expires_at <= now(), FALSE) AS is_expired
FROM noetl.api_key
WHERE key_id = $1;

-- name: list_keys
-- $1 whether to include revoked keys, $2 limit
SELECT {key_columns}
FROM noetl.api_key
WHERE $1::BOOLEAN OR revoked_at IS NULL
ORDER BY created_at DESC, key_id DESC
LIMIT $2;

-- name: revoke_key
-- A repeated revocation keeps the time of the first. $1 id
UPDATE noetl.api_key
SET revoked_at = coalesce(revoked_at, now())
WHERE key_id = $1
RETURNING revoked_at;

-- name: touch_keys
-- $1 ids, $2 times
UPDATE noetl.api_key AS k
SET last_used_at = greatest(k.last_used_at, used.at)
FROM unnest($1::TEXT[], $2::TIMESTAMPTZ[]) AS used (key_id, at)
WHERE k.key_id = used.key_id;

-- name: find_grants
-- $1 kind, $2 issuer, $3 claims
SELECT {grant_columns}
FROM noetl.access_grant
WHERE kind = $1
    AND issuer IN ('', $2)
    AND claim = ANY($3::TEXT[])
ORDER BY rank, grant_id;

-- name: put_grant
-- $1 id, $2 kind, $3 issuer, $4 claim, $5 rank, $6 roles, $7 rights, $8 namespaces, $9 pools,
-- $10 creator
INSERT INTO noetl.access_grant (
    grant_id, kind, issuer, claim, rank, roles, grants, namespaces, pools, created_by
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (kind, issuer, claim) DO UPDATE
    SET
        rank = excluded.rank,
        roles = excluded.roles,
        grants = excluded.grants,
        namespaces = excluded.namespaces,
        pools = excluded.pools,
        created_by = excluded.created_by
RETURNING {grant_columns};

-- name: list_grants
-- $1 limit
SELECT {grant_columns}
FROM noetl.access_grant
ORDER BY kind, rank, grant_id
LIMIT $1;

-- name: delete_grant
-- $1 id
DELETE FROM noetl.access_grant
WHERE grant_id = $1
RETURNING grant_id;

-- name: insert_records
-- $1 ids, $2 times, $3 principals, $4 kinds, $5 addresses, $6 rights, $7 methods, $8 routes,
-- $9 objects, $10 outcomes, $11 request ids, $12 numbers of requests
INSERT INTO noetl.access_audit (
    record_id, occurred_at, principal, kind, address, access_right, method, route, object, outcome,
    request_id, requests
)
SELECT
    record_id, occurred_at, principal, kind, address, access_right, method, route, object, outcome,
    request_id, requests
FROM unnest(
        $1::TEXT[], $2::TIMESTAMPTZ[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::TEXT[],
        $7::TEXT[], $8::TEXT[], $9::TEXT[], $10::TEXT[], $11::TEXT[], $12::INTEGER[]
    ) AS record (
        record_id, occurred_at, principal, kind, address, access_right, method, route, object,
        outcome, request_id, requests
    )
ON CONFLICT (record_id) DO NOTHING;

-- list: record
SELECT
    a.record_id, a.occurred_at, a.principal, a.kind, a.address, a.access_right, a.method, a.route,
    a.object, a.outcome, a.request_id, a.requests
FROM noetl.access_audit AS a;

-- name: records
-- each: list_records chosen = true
-- each: list_records_of_object chosen = a.object = $4 AND a.object != ''
-- each: list_records_of_principal chosen = a.principal = $1
-- each: list_records_of_right chosen = a.access_right = $2
-- each: list_records_of_outcome chosen = a.outcome = $3
-- Newest first, where nothing but times is asked for: by the index of times; the others are read by
-- an index of what they are called after. $1 principal or null, $2 right or null, $3 outcome or
-- null, $4 object or null, $5 from or null, $6 to or null, $7 limit
SELECT {record}
FROM noetl.access_audit AS a
WHERE
    {chosen}
    AND ($1::TEXT IS NULL OR a.principal = $1)
    AND ($2::TEXT IS NULL OR a.access_right = $2)
    AND ($3::TEXT IS NULL OR a.outcome = $3)
    AND ($4::TEXT IS NULL OR a.object = $4)
    AND a.occurred_at >= coalesce($5::TIMESTAMPTZ, '-infinity')
    AND a.occurred_at < coalesce($6::TIMESTAMPTZ, 'infinity')
ORDER BY a.occurred_at DESC, a.record_id DESC
LIMIT $7;

-- name: delete_old_records
-- $1 age, $2 limit
DELETE FROM noetl.access_audit
WHERE record_id IN (
        SELECT old.record_id
        FROM noetl.access_audit AS old
        WHERE old.occurred_at < now() - $1::INTERVAL
        LIMIT $2
    );
