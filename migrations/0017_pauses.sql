-- migrate:up
-- Paths of playbooks and worker pools whose commands are withheld; of the whole cluster.
SET lock_timeout = '4s';
SET statement_timeout = '5s';

CREATE TABLE noetl.pause (
    kind TEXT NOT NULL CHECK (kind IN ('path', 'pool')),
    -- A path, with all below it, or a pool as command subjects name it.
    name TEXT NOT NULL,
    reason TEXT,
    actor TEXT,
    since TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, name)
);

ALTER FUNCTION noetl.service_rights() RENAME TO service_rights_before_0017;
CREATE FUNCTION noetl.service_rights()
RETURNS TABLE (role_name TEXT, table_name TEXT, privileges TEXT)
LANGUAGE sql STABLE AS $$
    SELECT b.role_name, b.table_name, b.privileges FROM noetl.service_rights_before_0017() AS b
    UNION ALL
    VALUES ('noetl_catalog', 'pause', 'SELECT, INSERT, UPDATE, DELETE')
$$;
SELECT noetl.grant_to_services();

-- migrate:down
DROP FUNCTION noetl.service_rights();
ALTER FUNCTION noetl.service_rights_before_0017() RENAME TO service_rights;
DROP TABLE noetl.pause;
