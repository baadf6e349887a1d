-- migrate:up
-- Who asks a provider for a secret, and how long one that failed is left alone.
SET lock_timeout = '4s';
SET statement_timeout = '5s';

CREATE TABLE noetl.keychain_renewal (
    cache_key TEXT PRIMARY KEY,
    -- Null when nobody asks.
    holder TEXT,
    held_until TIMESTAMPTZ,
    failures INTEGER NOT NULL DEFAULT 0,
    retry_at TIMESTAMPTZ,
    -- Provider, reason, and whether workers ask again; never a secret.
    error JSONB
);

ALTER FUNCTION noetl.service_rights() RENAME TO service_rights_before_0029;
CREATE FUNCTION noetl.service_rights()
RETURNS TABLE (role_name TEXT, table_name TEXT, privileges TEXT)
LANGUAGE sql STABLE AS $$
    SELECT b.role_name, b.table_name, b.privileges FROM noetl.service_rights_before_0029() AS b
    UNION ALL
    VALUES ('noetl_catalog', 'keychain_renewal', 'SELECT, INSERT, UPDATE, DELETE')
$$;
SELECT noetl.grant_to_services();

-- migrate:down
DROP FUNCTION noetl.service_rights();
ALTER FUNCTION noetl.service_rights_before_0029() RENAME TO service_rights;
DROP TABLE noetl.keychain_renewal;
