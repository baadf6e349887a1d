-- migrate:up
-- Cluster-wide tables. No foreign key crosses to a shard.
SET lock_timeout = '4s';
SET statement_timeout = '5s';

CREATE TABLE noetl.resource (
    name VARCHAR PRIMARY KEY,
    meta JSONB
);
INSERT INTO noetl.resource (name, meta) VALUES
    ('playbook', '{"description": "Workflow playbook", "executable": true, "catalog": true}'),
    ('credential', '{"description": "Credential", "executable": false, "catalog": true}'),
    ('mcp', '{"description": "MCP server", "executable": false, "catalog": true}'),
    ('agent', '{"description": "Agent", "executable": true, "catalog": true}'),
    ('memory', '{"description": "Memory", "executable": false, "catalog": true}'),
    ('subscription', '{"description": "Subscription", "executable": false, "catalog": true}');

CREATE TABLE noetl.catalog (
    catalog_id BIGINT PRIMARY KEY,
    path TEXT NOT NULL,
    version SMALLINT NOT NULL,
    kind VARCHAR NOT NULL REFERENCES noetl.resource (name),
    content TEXT,
    layout JSONB,
    payload JSONB,
    meta JSONB,
    created_at TIMESTAMPTZ NOT NULL DEFAULT current_timestamp,
    credential_id INTEGER,
    UNIQUE (path, version)
);

CREATE TABLE noetl.runtime (
    runtime_id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('worker_pool', 'server_api', 'broker')),
    uri TEXT,
    status TEXT NOT NULL,
    labels JSONB,
    capabilities JSONB,
    capacity INTEGER,
    runtime JSONB,
    heartbeat TIMESTAMPTZ NOT NULL DEFAULT now(),
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- ours: the process behind the name and since when (L4)
    instance TEXT,
    process_since TIMESTAMPTZ NOT NULL DEFAULT now(),
    deregistered_at TIMESTAMPTZ,
    UNIQUE (kind, name)
);

-- Leased machine ids of the id generators (S1).
CREATE TABLE noetl.machine_lease (
    machine_id INTEGER PRIMARY KEY CHECK (machine_id BETWEEN 0 AND 1023),
    holder TEXT NOT NULL,
    lease_until TIMESTAMPTZ NOT NULL,
    high_water_ms BIGINT NOT NULL DEFAULT 0
);

-- Present for GET /api/db/validate; nothing writes it.
CREATE TABLE noetl.schedule (
    schedule_id BIGINT PRIMARY KEY,
    meta JSONB
);

-- migrate:down
DROP TABLE noetl.schedule, noetl.machine_lease, noetl.runtime, noetl.catalog, noetl.resource;
