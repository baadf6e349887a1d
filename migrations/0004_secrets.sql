-- migrate:up
-- Stored credentials, the keychain and who read what.
SET lock_timeout = '4s';
SET statement_timeout = '5s';

CREATE TABLE noetl.credential (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    -- An envelope record; text on purpose.
    data_encrypted TEXT NOT NULL,
    schema JSONB,
    meta JSONB,
    tags TEXT[],
    description TEXT,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX idx_credential_type ON noetl.credential (type);

CREATE TABLE noetl.keychain (
    cache_key TEXT PRIMARY KEY,
    keychain_name TEXT NOT NULL,
    catalog_id BIGINT NOT NULL,
    credential_type TEXT NOT NULL,
    cache_type TEXT NOT NULL,
    scope_type TEXT NOT NULL,
    execution_id BIGINT,
    parent_execution_id BIGINT,
    data_encrypted TEXT NOT NULL,
    schema JSONB,
    expires_at TIMESTAMPTZ NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    accessed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    access_count INTEGER DEFAULT 0,
    auto_renew BOOLEAN DEFAULT FALSE,
    renew_config JSONB,
    CONSTRAINT keychain_catalog_id_fkey FOREIGN KEY (catalog_id)
    REFERENCES noetl.catalog (catalog_id),
    CONSTRAINT keychain_cache_type_check CHECK (cache_type IN ('secret', 'token')),
    CONSTRAINT keychain_scope_type_check CHECK (scope_type IN ('local', 'global', 'shared'))
);
CREATE INDEX idx_keychain_execution_id ON noetl.keychain (execution_id);
CREATE INDEX idx_keychain_parent_execution_id ON noetl.keychain (parent_execution_id)
WHERE parent_execution_id IS NOT NULL;
CREATE INDEX idx_keychain_expires_at ON noetl.keychain (expires_at);
CREATE INDEX idx_keychain_type_scope ON noetl.keychain (cache_type, scope_type);
CREATE INDEX idx_keychain_name ON noetl.keychain (keychain_name);
CREATE INDEX idx_keychain_catalog ON noetl.keychain (catalog_id);
CREATE INDEX idx_keychain_name_catalog ON noetl.keychain (keychain_name, catalog_id);

CREATE TABLE noetl.secret_audit (
    audit_id BIGINT PRIMARY KEY,
    occurred_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    credential TEXT NOT NULL,
    operation TEXT NOT NULL,
    outcome TEXT NOT NULL,
    worker_id TEXT,
    execution_id BIGINT,
    parent_execution_id BIGINT,
    server_region TEXT,
    broker_region TEXT,
    kek_version TEXT,
    notes TEXT
);
CREATE INDEX secret_audit_credential_time ON noetl.secret_audit (credential, occurred_at DESC);
CREATE INDEX secret_audit_execution ON noetl.secret_audit (execution_id)
WHERE execution_id IS NOT NULL;
-- For the newest rows of all, and for forgetting the oldest.
CREATE INDEX secret_audit_time ON noetl.secret_audit (occurred_at DESC, audit_id DESC);

-- migrate:down
DROP TABLE noetl.secret_audit, noetl.keychain, noetl.credential;
