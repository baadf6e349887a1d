-- migrate:up
-- API keys, grants to callers known by other proofs, and the audit of who was let do what.
SET lock_timeout = '4s';
SET statement_timeout = '5s';

CREATE TABLE noetl.api_key (
    key_id TEXT PRIMARY KEY,
    -- Of the whole key; the key itself is kept nowhere.
    sha256 BYTEA NOT NULL,
    name TEXT NOT NULL,
    roles TEXT[] NOT NULL,
    grants TEXT[] NOT NULL DEFAULT '{}',
    namespaces TEXT[] NOT NULL,
    pools TEXT[] NOT NULL DEFAULT '{}',
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    created_by TEXT,
    expires_at TIMESTAMPTZ,
    last_used_at TIMESTAMPTZ,
    revoked_at TIMESTAMPTZ
);

CREATE TABLE noetl.access_grant (
    grant_id BIGINT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('jwt', 'session', 'certificate')),
    -- Empty: of every issuer that the edge trusts.
    issuer TEXT NOT NULL DEFAULT '',
    -- `sub:<subject>`, or a claim and one value of it.
    claim TEXT NOT NULL,
    -- Among grants that fit, those of the lowest rank count.
    rank INTEGER NOT NULL DEFAULT 100,
    roles TEXT[] NOT NULL,
    grants TEXT[] NOT NULL DEFAULT '{}',
    namespaces TEXT[] NOT NULL,
    pools TEXT[] NOT NULL DEFAULT '{}',
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    created_by TEXT,
    CONSTRAINT access_grant_key UNIQUE (kind, issuer, claim)
);

CREATE TABLE noetl.access_audit (
    record_id TEXT PRIMARY KEY,
    occurred_at TIMESTAMPTZ NOT NULL,
    principal TEXT NOT NULL,
    kind TEXT NOT NULL,
    address TEXT NOT NULL,
    access_right TEXT NOT NULL,
    method TEXT NOT NULL,
    route TEXT NOT NULL,
    object TEXT NOT NULL,
    outcome TEXT NOT NULL,
    request_id TEXT NOT NULL
);
-- For the newest rows of all, and for forgetting the oldest.
CREATE INDEX access_audit_time ON noetl.access_audit (occurred_at DESC, record_id DESC);
CREATE INDEX access_audit_principal ON noetl.access_audit (principal, occurred_at DESC);
CREATE INDEX access_audit_object ON noetl.access_audit (object, occurred_at DESC)
WHERE object != '';

-- Who asked for a secret.
ALTER TABLE noetl.secret_audit ADD COLUMN principal TEXT;

-- migrate:down
ALTER TABLE noetl.secret_audit DROP COLUMN principal;
DROP TABLE noetl.access_audit, noetl.access_grant, noetl.api_key;
