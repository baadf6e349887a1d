-- Statements about credentials, the keychain and the audit, on the cluster database.

-- list: credential
-- A credential without its data.
SELECT
    id, name, type, meta, tags, description, created_at, updated_at, allowed_paths, allowed_hosts
FROM noetl.credential;

-- name: find_credential
-- An identifier that is a number is an id first, then a name.
-- $1 id or null, $2 name
SELECT {credential}, data_encrypted
FROM noetl.credential
WHERE id = $1::BIGINT OR name = $2::TEXT
ORDER BY (id = $1::BIGINT) IS TRUE DESC
LIMIT 1;

-- name: find_named
-- $1 name
SELECT {credential}
FROM noetl.credential
WHERE name = $1;

-- name: list_credentials
-- $1 type or null, $2 part of name or description or null, $3 limit, $4 path prefixes or null
-- for all
SELECT {credential}
FROM noetl.credential
WHERE ($1::TEXT IS NULL OR type = $1)
    AND ($2::TEXT IS NULL OR name ILIKE '%' || $2 || '%' OR description ILIKE '%' || $2 || '%')
    AND (
        $4::TEXT[] IS NULL
        OR allowed_paths IS NULL
        OR EXISTS (
            SELECT 1
            FROM unnest($4::TEXT[]) AS own (stem)
            CROSS JOIN unnest(allowed_paths) AS allowed (path)
            WHERE starts_with(own.stem || '/', trim(allowed.path, '/') || '/')
                OR starts_with(trim(allowed.path, '/') || '/', own.stem || '/')
                OR trim(allowed.path, '/') = ''
        )
    )
ORDER BY created_at DESC, id DESC
LIMIT $3;

-- name: put_credential
-- Creates, or replaces all but id and creation time.
-- Path prefixes and hosts stay as they are where null is given.
-- $1 id, $2 name, $3 type, $4 encrypted data, $5 meta, $6 tags, $7 description, $8 path prefixes
-- or null, $9 hosts or null
INSERT INTO noetl.credential AS c (
    id, name, type, data_encrypted, meta, tags, description, allowed_paths, allowed_hosts
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (name) DO UPDATE
    SET
        type = excluded.type,
        data_encrypted = excluded.data_encrypted,
        meta = excluded.meta,
        tags = excluded.tags,
        description = excluded.description,
        allowed_paths = coalesce(excluded.allowed_paths, c.allowed_paths),
        allowed_hosts = coalesce(excluded.allowed_hosts, c.allowed_hosts),
        updated_at = now()
RETURNING {credential};

-- name: replace_data
-- Of a credential that is unchanged since its read. $1 name, $2 text read, $3 new text
UPDATE noetl.credential
SET
    data_encrypted = $3,
    updated_at = now()
WHERE name = $1 AND data_encrypted = $2
RETURNING id;

-- name: delete_credential
-- $1 id
DELETE FROM noetl.credential
WHERE id = $1
RETURNING id;

-- name: probe_credential
-- The text whose key was wrapped last, for the check at start.
SELECT
    name, data_encrypted
FROM noetl.credential
WHERE data_encrypted LIKE '{"v":%'
ORDER BY updated_at DESC
LIMIT 1;

-- name: use_keychain
-- A living entry, counting its use.
-- $1 cache key
UPDATE noetl.keychain
SET
    access_count = coalesce(access_count, 0) + 1,
    accessed_at = now()
WHERE cache_key = $1 AND expires_at >= now()
RETURNING
    data_encrypted, expires_at,
    FALSE AS is_expired,
    access_count,
    coalesce(auto_renew, FALSE) AS auto_renew,
    CASE jsonb_typeof(renew_config -> 'life_seconds')
        WHEN 'number' THEN (renew_config ->> 'life_seconds')::FLOAT8
    END AS life_seconds;

-- name: find_keychain
-- $1 cache key
SELECT
    data_encrypted, expires_at,
    expires_at < now() AS is_expired,
    coalesce(access_count, 0) AS access_count,
    coalesce(auto_renew, FALSE) AS auto_renew
FROM noetl.keychain
WHERE cache_key = $1;

-- name: put_keychain
-- $1 cache key, $2 name, $3 catalog id, $4 credential type or null, $5 cache type or null,
-- $6 scope,
-- $7 execution id, $8 parent execution id, $9 encrypted data, $10 expiry or null,
-- $11 life when there is no expiry, $12 whether it renews, $13 how
INSERT INTO noetl.keychain AS k (
    cache_key, keychain_name, catalog_id, credential_type, cache_type, scope_type, execution_id,
    parent_execution_id, data_encrypted, expires_at, auto_renew, renew_config
)
VALUES (
    $1, $2, $3, coalesce($4, 'secret'), coalesce($5, 'secret'), $6, $7, $8, $9,
    coalesce($10::TIMESTAMPTZ, now() + $11::INTERVAL),
    $12, $13
)
ON CONFLICT (cache_key) DO UPDATE
    SET
        credential_type = coalesce($4, k.credential_type),
        cache_type = coalesce($5, k.cache_type),
        data_encrypted = excluded.data_encrypted,
        expires_at = excluded.expires_at,
        auto_renew = excluded.auto_renew,
        renew_config = excluded.renew_config
RETURNING k.expires_at;

-- name: delete_keychain
-- $1 cache key
DELETE FROM noetl.keychain
WHERE cache_key = $1
RETURNING cache_key;

-- name: list_keychain
-- $1 catalog id, $2 limit
SELECT
    keychain_name, scope_type, execution_id, expires_at,
    expires_at < now() AS expired,
    created_at, accessed_at,
    coalesce(access_count, 0) AS access_count
FROM noetl.keychain
WHERE catalog_id = $1
ORDER BY created_at DESC, cache_key ASC
LIMIT $2;

-- name: delete_expired_keychain
-- Entries that expired long ago. $1 interval, $2 limit
DELETE FROM noetl.keychain
WHERE cache_key IN (
        SELECT old.cache_key
        FROM noetl.keychain AS old
        WHERE old.expires_at < now() - $1::INTERVAL AND old.auto_renew IS NOT TRUE
        LIMIT $2
        FOR UPDATE SKIP LOCKED
    );

-- name: claim_renewal
-- The lease on a secret, unless another has it or its provider rests after a failure.
-- $1 cache key, $2 holder, $3 how long
INSERT INTO noetl.keychain_renewal AS r (cache_key, holder, held_until)
VALUES ($1, $2, now() + $3::INTERVAL)
ON CONFLICT (cache_key) DO UPDATE
    SET
        holder = excluded.holder,
        held_until = excluded.held_until
    WHERE coalesce(r.held_until, '-infinity') <= now()
    AND coalesce(r.retry_at, '-infinity') <= now()
RETURNING r.cache_key;

-- name: find_renewal
-- $1 cache key
SELECT
    CASE
        WHEN retry_at > now() THEN extract(EPOCH FROM retry_at - now())::FLOAT8
        ELSE 0.0
    END AS rests_seconds,
    error
FROM noetl.keychain_renewal
WHERE cache_key = $1;

-- name: end_renewal
-- $1 cache key, $2 holder
DELETE FROM noetl.keychain_renewal
WHERE cache_key = $1 AND holder = $2
RETURNING cache_key;

-- name: fail_renewal
-- The pause doubles with each failure in a row. $1 cache key, $2 holder, $3 what failed,
-- $4 first pause, $5 longest pause, in seconds
UPDATE noetl.keychain_renewal
SET
    holder = NULL,
    held_until = NULL,
    failures = failures + 1,
    retry_at = now() + make_interval(secs => least($4::FLOAT8 * 2 ^ least(failures, 20), $5)),
    error = $3
WHERE cache_key = $1 AND holder = $2;

-- name: delete_old_renewals
-- Pauses that ended long ago. $1 interval, $2 limit
DELETE FROM noetl.keychain_renewal
WHERE cache_key IN (
        SELECT old.cache_key
        FROM noetl.keychain_renewal AS old
        WHERE coalesce(old.retry_at, old.held_until) < now() - $1::INTERVAL
        LIMIT $2
        FOR UPDATE SKIP LOCKED
    );

-- name: find_public_key
-- The key that a worker registered for sealed answers. $1 worker
SELECT r.runtime ->> 'worker_public_key' AS public_key
FROM noetl.runtime AS r
WHERE r.kind = 'worker_pool' AND r.name = $1;

-- name: insert_audit
-- Texts that clients choose are cut off.
-- $1 id, $2 credential, $3 operation, $4 outcome, $5 worker, $6 execution id,
-- $7 parent execution id, $8 server region, $9 broker region, $10 key version, $11 notes,
-- $12 principal
INSERT INTO noetl.secret_audit (
    audit_id, credential, operation, outcome, worker_id, execution_id, parent_execution_id,
    server_region, broker_region, kek_version, notes, principal
)
VALUES (
    $1, left($2::TEXT, 500), $3, $4, left($5::TEXT, 500), $6, $7, $8, $9, $10,
    left($11::TEXT, 500), left($12::TEXT, 500)
)
ON CONFLICT (audit_id) DO NOTHING;

-- list: audited
SELECT
    a.audit_id, a.occurred_at, a.credential, a.operation, a.outcome, a.worker_id, a.execution_id,
    a.parent_execution_id, a.server_region, a.broker_region, a.kek_version, a.notes, a.principal
FROM noetl.secret_audit AS a;

-- name: audit
-- each: list_audit chosen = true
-- each: list_audit_of_execution chosen = a.execution_id = $2
-- each: list_audit_of_credential chosen = a.credential = $1
-- Newest first, by the index of times; the others are read by an index of what they are called
-- after. $1 credential or null, $2 execution id or null, $3 from or null, $4 to or null, $5 limit
SELECT {audited}
FROM noetl.secret_audit AS a
WHERE
    {chosen}
    AND ($1::TEXT IS NULL OR a.credential = $1)
    AND ($2::BIGINT IS NULL OR a.execution_id = $2)
    AND a.occurred_at >= coalesce($3::TIMESTAMPTZ, '-infinity')
    AND a.occurred_at < coalesce($4::TIMESTAMPTZ, 'infinity')
ORDER BY a.occurred_at DESC, a.audit_id DESC
LIMIT $5;

-- name: delete_old_audit
-- $1 age, $2 limit
DELETE FROM noetl.secret_audit
WHERE audit_id IN (
        SELECT old.audit_id
        FROM noetl.secret_audit AS old
        WHERE old.occurred_at < now() - $1::INTERVAL
        LIMIT $2
    );

-- name: page_credential
-- Records in order of key. $1 after this id, $2 limit
SELECT
    id::TEXT AS key, name, data_encrypted
FROM noetl.credential
WHERE id > $1::TEXT::BIGINT
ORDER BY id
LIMIT $2;

-- name: page_keychain
-- Records in order of key. $1 after this cache key, $2 limit
SELECT
    cache_key AS key, cache_key AS name, data_encrypted
FROM noetl.keychain
WHERE cache_key > $1::TEXT
ORDER BY cache_key
LIMIT $2;

-- name: rewrap_credential
-- New texts for records unchanged since their read. $1 keys, $2 texts read, $3 new texts
UPDATE noetl.credential AS c
SET data_encrypted = rewrapped.text
FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[]) AS rewrapped (key, seen, text)
WHERE c.id = rewrapped.key::BIGINT AND c.data_encrypted = rewrapped.seen
RETURNING rewrapped.key;

-- name: rewrap_keychain
-- New texts for records unchanged since their read. $1 keys, $2 texts read, $3 new texts
UPDATE noetl.keychain AS k
SET data_encrypted = rewrapped.text
FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[]) AS rewrapped (key, seen, text)
WHERE k.cache_key = rewrapped.key AND k.data_encrypted = rewrapped.seen
RETURNING rewrapped.key;

-- name: count_key_versions
-- Records by the version of the key that wraps theirs; other forms are `invalid`.
SELECT
    records.origin,
    coalesce(
        substring(
            records.data_encrypted FROM
            '^\s*\{"v":\d+,"alg":"[^"]*","ct":"[^"]*",'
            '"dek":\{"p":"[^"]*","kid":"[^"]*","kv":"([^"]*)"'
        ),
        'invalid'
    ) AS version,
    count(*) AS amount
FROM (
    SELECT
        'credential' AS origin,
        data_encrypted
    FROM noetl.credential
    UNION ALL
    SELECT
        'keychain' AS origin,
        data_encrypted
    FROM noetl.keychain
) AS records
GROUP BY 1, 2
ORDER BY 1, 2;
