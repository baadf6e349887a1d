-- Statements of the import: pages of the existing server's tables, which have the columns of ours
-- that are named here, and the rows that it writes into ours.

-- name: page_old_catalog
-- $1 path and $2 version after which, $3 limit
SELECT
    c.catalog_id, c.path, c.version, c.kind, c.content, c.created_at
FROM noetl.catalog AS c
WHERE (c.path, c.version) > ($1::TEXT, $2::SMALLINT)
ORDER BY c.path, c.version
LIMIT $3;

-- name: page_old_credentials
-- $1 id after which, $2 limit
SELECT
    c.id, c.name, c.type, c.data_encrypted, c.meta, c.tags, c.description, c.created_at,
    c.updated_at
FROM noetl.credential AS c
WHERE c.id > $1::BIGINT
ORDER BY c.id
LIMIT $2;

-- name: page_old_keychain
-- $1 key after which, $2 limit
SELECT
    k.cache_key, k.keychain_name, k.catalog_id, k.credential_type, k.cache_type, k.scope_type,
    k.execution_id, k.data_encrypted, k.expires_at,
    k.expires_at < now() AS is_expired,
    coalesce(k.auto_renew, FALSE) AS auto_renew,
    k.renew_config
FROM noetl.keychain AS k
WHERE k.cache_key > $1::TEXT
ORDER BY k.cache_key
LIMIT $2;

-- name: page_old_workers
-- $1 id after which, $2 limit
SELECT
    r.runtime_id, r.name, r.uri, r.status, r.labels, r.capabilities, r.capacity, r.runtime,
    r.heartbeat
FROM noetl.runtime AS r
WHERE r.kind = 'worker_pool' AND r.runtime_id > $1::BIGINT
ORDER BY r.runtime_id
LIMIT $2;

-- name: lock_catalog_path
-- As a registration does: nobody else adds a version to the path. $1 path
SELECT pg_advisory_xact_lock(hashtextextended('noetl.catalog/' || $1::TEXT, 0));

-- name: find_entry
-- $1 path, $2 version
SELECT
    c.catalog_id, c.kind, c.content
FROM noetl.catalog AS c
WHERE c.path = $1 AND c.version = $2::SMALLINT;

-- name: find_entry_id
-- $1 catalog id
SELECT c.catalog_id FROM noetl.catalog AS c WHERE c.catalog_id = $1;

-- name: add_kind
-- $1 kind
INSERT INTO noetl.resource (name, meta)
VALUES ($1, '{"executable": false, "catalog": true}')
ON CONFLICT (name) DO NOTHING;

-- name: add_entry
-- No row where the id is taken. $1 catalog id, $2 path, $3 version, $4 kind, $5 content,
-- $6 layout, $7 payload, $8 meta, $9 metadata, $10 when it was registered or null
INSERT INTO noetl.catalog (
    catalog_id, path, version, kind, content, layout, payload, meta, metadata, created_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, coalesce($10::TIMESTAMPTZ, now()))
ON CONFLICT DO NOTHING
RETURNING catalog_id;

-- name: find_credential_named
-- $1 name
SELECT
    c.type, c.data_encrypted
FROM noetl.credential AS c
WHERE c.name = $1;

-- name: add_credential
-- No row where id or name is taken. $1 id, $2 name, $3 type, $4 encrypted data, $5 meta, $6 tags,
-- $7 description, $8 and $9 when it was made and changed, or null
INSERT INTO noetl.credential (
    id, name, type, data_encrypted, meta, tags, description, created_at, updated_at
)
VALUES (
    $1, $2, $3, $4, $5, $6, $7, coalesce($8::TIMESTAMPTZ, now()), coalesce($9::TIMESTAMPTZ, now())
)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: find_keychain_entry
-- $1 cache key
SELECT k.cache_key FROM noetl.keychain AS k WHERE k.cache_key = $1;

-- name: add_keychain_entry
-- $1 cache key, $2 name, $3 catalog id, $4 credential type, $5 cache type, $6 scope,
-- $7 encrypted data, $8 end, $9 whether it renews itself, $10 how
INSERT INTO noetl.keychain (
    cache_key, keychain_name, catalog_id, credential_type, cache_type, scope_type, data_encrypted,
    expires_at, auto_renew, renew_config
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (cache_key) DO NOTHING
RETURNING cache_key;

-- name: find_worker
-- $1 name
SELECT r.runtime_id FROM noetl.runtime AS r WHERE r.kind = 'worker_pool' AND r.name = $1;

-- name: add_worker
-- Its last heartbeat stays what it was. $1 id, $2 name, $3 uri, $4 status, $5 labels,
-- $6 capabilities, $7 capacity, $8 runtime, $9 heartbeat
INSERT INTO noetl.runtime (
    runtime_id, name, kind, uri, status, labels, capabilities, capacity, runtime, heartbeat
)
VALUES ($1, $2, 'worker_pool', $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT DO NOTHING
RETURNING runtime_id;
