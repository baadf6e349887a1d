-- Statements of the catalog service, on the cluster database.

-- name: lock_path
-- Locks the versions of one path until the transaction ends, and looks up the kind.
-- $1 path, $2 kind
SELECT
    pg_advisory_xact_lock(hashtextextended('noetl.catalog/' || $1::TEXT, 0)),
    EXISTS(SELECT 1 FROM noetl.resource WHERE name = $2) AS kind_is_known;

-- name: find_newest_version
-- The newest version of a path that is not deleted, or 0; runs under lock_path.
-- $1 path
SELECT coalesce(max(version), 0)
FROM noetl.catalog
WHERE path = $1 AND deleted_at IS NULL;

-- name: insert_version
-- The next version of a path; runs under lock_path.
-- Deleted versions count, so that no number is used twice.
-- $1 catalog id, $2 path, $3 kind, $4 content, $5 layout, $6 payload, $7 meta, $8 metadata,
-- $9 locks of libraries by digest or null, $10 registrant or null
INSERT INTO noetl.catalog (
    catalog_id, path, version, kind, content, layout, payload, meta, metadata, libraries, registrant
)
SELECT
    $1,
    $2::TEXT,
    (coalesce(max(version), 0) + 1)::SMALLINT,
    $3::VARCHAR,
    $4,
    $5,
    $6,
    $7,
    $8,
    $9,
    $10
FROM noetl.catalog
WHERE path = $2::TEXT
RETURNING version;

-- name: list_entries
-- All versions, newest first. An agent has that kind, or its metadata says that it is an agent.
-- $1 kind or null, $2 path or null, $3 whether only agents, $4 required capabilities, $5 limit,
-- $6 path prefixes or null for all, $7 whether to read the large columns
SELECT
    catalog_id, path, kind, version,
    CASE WHEN $7::BOOLEAN THEN content END AS content,
    CASE WHEN $7::BOOLEAN THEN layout END AS layout,
    CASE WHEN $7::BOOLEAN THEN payload END AS payload,
    meta, created_at, metadata
FROM noetl.catalog
WHERE deleted_at IS NULL
    AND ($1::TEXT IS NULL OR lower(kind) = $1)
    AND ($2::TEXT IS NULL OR path = $2)
    AND (
        NOT $3::BOOLEAN
        OR kind = 'agent'
        OR coalesce(metadata -> 'agent', 'null')
        NOT IN ('null', 'false', '0', '""', '[]', '{}')
        OR coalesce(meta -> 'agent', 'null') NOT IN ('null', 'false', '0', '""', '[]', '{}')
    )
    AND (
        cardinality($4::TEXT[]) = 0
        OR CASE
            WHEN jsonb_typeof(metadata -> 'capabilities') = 'array'
                THEN metadata -> 'capabilities' ?& $4
            WHEN jsonb_typeof(meta -> 'capabilities') = 'array'
                THEN meta -> 'capabilities' ?& $4
            ELSE FALSE
        END
    )
    AND (
        $6::TEXT[] IS NULL
        OR EXISTS (
            SELECT 1 FROM unnest($6::TEXT[]) AS reached (stem)
            WHERE ltrim(path, '/') = reached.stem
                OR starts_with(ltrim(path, '/'), reached.stem || '/')
        )
    )
ORDER BY created_at DESC, catalog_id DESC
LIMIT $5;

-- name: find_by_id
-- $1 catalog id, $2 whether to read the large columns, $3 whether to include deleted versions
SELECT
    catalog_id, path, kind, version,
    CASE WHEN $2::BOOLEAN THEN content END AS content,
    CASE WHEN $2::BOOLEAN THEN layout END AS layout,
    CASE WHEN $2::BOOLEAN THEN payload END AS payload,
    meta, created_at
FROM noetl.catalog
WHERE catalog_id = $1
    AND (deleted_at IS NULL OR $3::BOOLEAN);

-- name: find_version
-- $1 path, $2 version or null for the newest, $3 whether to read the large columns,
-- $4 whether to include deleted versions
SELECT
    catalog_id, path, kind, version,
    CASE WHEN $3::BOOLEAN THEN content END AS content,
    CASE WHEN $3::BOOLEAN THEN layout END AS layout,
    CASE WHEN $3::BOOLEAN THEN payload END AS payload,
    meta, created_at
FROM noetl.catalog
WHERE path = $1
    AND version = coalesce(
        $2::SMALLINT,
        (
            SELECT max(newest.version)
            FROM noetl.catalog AS newest
            WHERE newest.path = $1
                AND (newest.deleted_at IS NULL OR $4::BOOLEAN)
        )
    )
    AND (deleted_at IS NULL OR $4::BOOLEAN);

-- name: find_lock
-- The lock of requirements of one version, even a deleted one, whose executions may be running.
-- $1 catalog id, $2 digest of the requirements
SELECT libraries -> $2::TEXT AS lock
FROM noetl.catalog
WHERE catalog_id = $1;

-- name: find_registrant
-- The registrant of a version that starts executions. $1 catalog id
SELECT registrant
FROM noetl.catalog
WHERE catalog_id = $1;

-- name: find_plugins
-- One version of each plug-in, except deleted versions. $1 paths, $2 their versions, null for the
-- newest, in the same order
SELECT DISTINCT ON (asked.path, asked.version)
    asked.path AS asked_path, asked.version AS asked_version, found.catalog_id, found.version,
    found.payload ->> 'digest' AS digest
FROM unnest($1::TEXT[], $2::SMALLINT[]) AS asked (path, version)
INNER JOIN noetl.catalog AS found ON asked.path = found.path
WHERE found.kind = 'plugin'
    AND found.deleted_at IS NULL
    AND (asked.version IS NULL OR found.version = asked.version)
ORDER BY asked.path, asked.version, found.version DESC;

-- name: find_missing
-- Paths and versions that don't exist or are deleted. $1 paths, $2 their versions, null for any, in
-- the same order
SELECT
    asked.path, asked.version
FROM unnest($1::TEXT[], $2::BIGINT[]) AS asked (path, version)
WHERE NOT EXISTS (
        SELECT 1 FROM noetl.catalog AS found
        WHERE found.path = asked.path
            AND found.deleted_at IS NULL
            AND (asked.version IS NULL OR found.version = asked.version)
    );

-- name: set_deleted
-- Deletes or restores versions; a repetition changes nothing. A schedule of the path is checked,
-- because it may no longer be in force, or be in force again.
-- $1 path, $2 version or null for all, $3 whether to delete them
WITH moved AS (
    UPDATE noetl.catalog
    SET deleted_at = CASE WHEN $3::BOOLEAN THEN now() END
    WHERE path = $1
        AND ($2::SMALLINT IS NULL OR version = $2)
        AND (deleted_at IS NULL) = $3
    RETURNING version
),

looked AS (
    UPDATE noetl.schedule
    SET look_at = clock_timestamp(), lease = NULL
    WHERE path = $1
        AND EXISTS (SELECT FROM moved)
)

SELECT version FROM moved;

-- name: count_catalog
-- Numbers of versions of playbooks, and of workers with a heartbeat within $1.
SELECT
    (
        SELECT count(*) FROM noetl.catalog
        WHERE kind = 'playbook' AND deleted_at IS NULL
    ) AS total_playbooks,
    (
        SELECT count(*) FROM noetl.runtime
        WHERE kind = 'worker_pool' AND deregistered_at IS NULL AND heartbeat > now() - $1::INTERVAL
    ) AS total_workers;

-- name: list_newest_subscriptions
-- The newest version of each path of that kind, except deleted versions. $1 limit
SELECT n.path, n.catalog_id, n.content, n.registrant
FROM (
    SELECT DISTINCT ON (c.path) c.path, c.catalog_id, c.content, c.kind, c.registrant
    FROM noetl.catalog AS c
    WHERE c.deleted_at IS NULL
    ORDER BY c.path, c.version DESC
) AS n
WHERE lower(n.kind) = 'subscription'
ORDER BY n.path
LIMIT $1;

-- name: list_newest_triggers
-- The newest version of each path that is a trigger, except deleted versions. $1 limit
SELECT n.path, n.content, n.registrant
FROM (
    SELECT DISTINCT ON (c.path) c.path, c.content, c.kind, c.registrant
    FROM noetl.catalog AS c
    WHERE c.deleted_at IS NULL
        AND c.path IN (SELECT t.path FROM noetl.catalog AS t WHERE t.kind = 'trigger')
    ORDER BY c.path, c.version DESC
) AS n
WHERE n.kind = 'trigger'
ORDER BY n.path
LIMIT $1;

-- name: find_suite
-- $1 id
SELECT suite_id, playbook_path, tests, metadata, updated_at
FROM noetl.test_suite
WHERE suite_id = $1;

-- name: put_suite
-- $1 id, $2 path of the playbook, $3 tests, $4 metadata, $5 caller, $6 path that an existing suite
-- needs to be replaced, or null, $7 maximum number of suites
INSERT INTO noetl.test_suite AS stored (suite_id, playbook_path, tests, metadata, updated_by)
SELECT $1::TEXT, $2::TEXT, $3::JSONB, $4::JSONB, $5::TEXT
WHERE $6::TEXT IS NOT NULL OR (SELECT count(*) FROM noetl.test_suite) < $7::INTEGER
ON CONFLICT (suite_id) DO UPDATE
    SET
        playbook_path = excluded.playbook_path,
        tests = excluded.tests,
        metadata = excluded.metadata,
        updated_by = excluded.updated_by,
        updated_at = now()
    WHERE stored.playbook_path = $6
RETURNING suite_id, playbook_path, tests, metadata, updated_at;

-- name: delete_suite
-- $1 id, $2 path of its playbook
DELETE FROM noetl.test_suite
WHERE suite_id = $1 AND playbook_path = $2
RETURNING suite_id;
