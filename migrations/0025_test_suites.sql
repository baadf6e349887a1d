-- migrate:up
-- Tests of playbooks, which the web UI keeps here and runs itself; of the whole cluster.
SET lock_timeout = '4s';
SET statement_timeout = '5s';

CREATE TABLE noetl.test_suite (
    suite_id TEXT PRIMARY KEY,
    playbook_path TEXT NOT NULL,
    -- A list of objects of the UI's own, and an object.
    tests JSONB NOT NULL,
    metadata JSONB NOT NULL,
    updated_by TEXT,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

ALTER FUNCTION noetl.service_rights() RENAME TO service_rights_before_0025;
CREATE FUNCTION noetl.service_rights()
RETURNS TABLE (role_name TEXT, table_name TEXT, privileges TEXT)
LANGUAGE sql STABLE AS $$
    SELECT b.role_name, b.table_name, b.privileges FROM noetl.service_rights_before_0025() AS b
    UNION ALL
    VALUES ('noetl_catalog', 'test_suite', 'SELECT, INSERT, UPDATE, DELETE')
$$;
SELECT noetl.grant_to_services();

-- migrate:down
DROP FUNCTION noetl.service_rights();
ALTER FUNCTION noetl.service_rights_before_0025() RENAME TO service_rights;
DROP TABLE noetl.test_suite;
