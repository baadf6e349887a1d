-- migrate:up
-- What a credential may be used for, whose worker a registration is, and requests told together.
SET lock_timeout = '4s';
SET statement_timeout = '5s';

ALTER TABLE noetl.credential
    -- Path prefixes of the playbooks that may use it; none: all.
    ADD COLUMN allowed_paths TEXT[],
    -- Hosts that an http step may send it to; none: all.
    ADD COLUMN allowed_hosts TEXT[];

ALTER TABLE noetl.runtime
    -- The caller that registered it, where callers are known.
    ADD COLUMN registered_by TEXT;

ALTER TABLE noetl.access_audit
    -- Requests in a row that differ in nothing are one record.
    ADD COLUMN requests INTEGER NOT NULL DEFAULT 1;

-- migrate:down
ALTER TABLE noetl.access_audit DROP COLUMN requests;
ALTER TABLE noetl.runtime DROP COLUMN registered_by;
ALTER TABLE noetl.credential DROP COLUMN allowed_paths, DROP COLUMN allowed_hosts;
