-- migrate:up
-- When a worker has said goodbye, which its next registration forgets: what its process had then
-- was given back, not lost.
SET lock_timeout = '4s';

ALTER TABLE noetl.runtime ADD COLUMN left_at TIMESTAMPTZ;

CREATE OR REPLACE VIEW noetl_shown.runtime AS
SELECT
    r.runtime_id, r.name, r.kind, r.uri, r.status, r.labels, r.capabilities, r.capacity,
    noetl_shown.masked(r.runtime, '{}') AS runtime, r.heartbeat, r.created_at, r.updated_at,
    NULL::TEXT AS instance, r.process_since, r.deregistered_at, r.over_edge,
    r.registered_by, r.left_at
FROM noetl.runtime AS r;

-- migrate:down
DROP VIEW noetl_shown.runtime;
ALTER TABLE noetl.runtime DROP COLUMN left_at;
CREATE VIEW noetl_shown.runtime AS
SELECT
    r.runtime_id, r.name, r.kind, r.uri, r.status, r.labels, r.capabilities, r.capacity,
    noetl_shown.masked(r.runtime, '{}') AS runtime, r.heartbeat, r.created_at, r.updated_at,
    NULL::TEXT AS instance, r.process_since, r.deregistered_at, r.over_edge,
    r.registered_by
FROM noetl.runtime AS r;
