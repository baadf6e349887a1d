-- migrate:up
-- The tables of one shard: the log, the commands, the state, the outbox.
-- Ids are snowflakes with milliseconds since 2024-01-01 in the bits from 22 up, so partitions by
-- range of execution_id are partitions by time.
SET lock_timeout = '4s';
SET statement_timeout = '5s';

CREATE SCHEMA IF NOT EXISTS noetl;

CREATE TABLE noetl.event (
    execution_id BIGINT NOT NULL,
    catalog_id BIGINT NOT NULL,
    event_id BIGINT NOT NULL,
    parent_event_id BIGINT,
    parent_execution_id BIGINT,
    created_at TIMESTAMP NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    event_type VARCHAR,
    node_id VARCHAR,
    node_name VARCHAR,
    node_type VARCHAR,
    status VARCHAR,
    duration DOUBLE PRECISION,
    context JSONB,
    result JSONB,
    meta JSONB,
    error TEXT,
    current_index INTEGER,
    current_item TEXT,
    worker_id VARCHAR,
    distributed_state VARCHAR,
    context_key VARCHAR,
    context_value TEXT,
    trace_component JSONB,
    stack_trace TEXT,
    tenant_id TEXT NOT NULL DEFAULT 'default',
    organization_id TEXT NOT NULL DEFAULT 'default',
    stream_id TEXT,
    stream_version BIGINT,
    aggregate_id TEXT,
    aggregate_type TEXT,
    schema_name TEXT,
    schema_version INTEGER NOT NULL DEFAULT 1,
    event_time TIMESTAMPTZ NOT NULL DEFAULT now(),
    ingest_time TIMESTAMPTZ NOT NULL DEFAULT now(),
    producer TEXT,
    causation_id TEXT,
    correlation_id TEXT,
    idempotency_key TEXT,
    payload_ref JSONB,
    envelope_checksum TEXT,
    prev_event_id BIGINT,
    command_id BIGINT,
    stage_id BIGINT,
    frame_id BIGINT,
    -- ours: the order of the log, and what a completion decided (R2)
    position BIGINT NOT NULL,
    note JSONB,
    PRIMARY KEY (execution_id, event_id),
    UNIQUE (execution_id, position),
    CONSTRAINT chk_event_result_shape CHECK (
        result IS NULL OR (
            jsonb_typeof(result) = 'object'
            AND jsonb_typeof(result -> 'status') = 'string'
            AND (result - 'status' - 'reference' - 'context') = '{}'::JSONB
            AND (NOT result ? 'reference' OR jsonb_typeof(result -> 'reference') = 'object')
            AND (NOT result ? 'context' OR jsonb_typeof(result -> 'context') = 'object')
        )
    )
) PARTITION BY RANGE (execution_id);

-- Children of an execution; the only secondary index of the hottest table, and a small one.
CREATE INDEX idx_event_parent_execution_id ON noetl.event (parent_execution_id)
    WHERE parent_execution_id IS NOT NULL;

CREATE TABLE noetl.command (
    command_id BIGINT NOT NULL,
    event_id BIGINT NOT NULL,
    execution_id BIGINT NOT NULL,
    catalog_id BIGINT NOT NULL,
    parent_execution_id BIGINT,
    parent_command_id BIGINT,
    step_name TEXT NOT NULL,
    tool_kind TEXT,
    status TEXT NOT NULL DEFAULT 'PENDING',
    worker_id TEXT,
    claimed_at TIMESTAMPTZ,
    started_at TIMESTAMPTZ,
    completed_at TIMESTAMPTZ,
    attempt INTEGER NOT NULL DEFAULT 1,
    context JSONB,
    context_key TEXT,
    loop_event_id TEXT,
    iter_index INTEGER,
    meta JSONB,
    result JSONB,
    error TEXT,
    latest_event_id BIGINT,
    prev_event_id BIGINT,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    stage_id BIGINT,
    frame_id BIGINT,
    -- ours: the lease and the pool that the notification goes to
    pool TEXT NOT NULL DEFAULT 'shared',
    instance TEXT,
    holds INTEGER NOT NULL DEFAULT 0,
    lease_until TIMESTAMPTZ,
    notified_at TIMESTAMPTZ,
    notifications INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (execution_id, event_id)
) PARTITION BY RANGE (execution_id);

-- A claim names the event only.
CREATE INDEX idx_command_event_id ON noetl.command (event_id);
-- For the sweep: commands never claimed, with an expired lease, of one worker.
CREATE INDEX idx_command_pending ON noetl.command (created_at) WHERE status = 'PENDING';
CREATE INDEX idx_command_leased ON noetl.command (lease_until)
    WHERE status IN ('CLAIMED', 'RUNNING');

CREATE TABLE noetl.execution_state (
    execution_id BIGINT PRIMARY KEY,
    catalog_id BIGINT NOT NULL,
    path TEXT NOT NULL,
    version INTEGER NOT NULL,
    parent_execution_id BIGINT,
    status TEXT NOT NULL DEFAULT 'RUNNING',
    position BIGINT NOT NULL,
    snapshot_position BIGINT NOT NULL DEFAULT 0,
    started_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    ended_at TIMESTAMPTZ,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    error TEXT,
    -- progress: entered, done, running, failed steps; soft errors; the newest step's name
    total_steps INTEGER NOT NULL DEFAULT 0,
    completed_steps INTEGER NOT NULL DEFAULT 0,
    running_steps INTEGER NOT NULL DEFAULT 0,
    failed_steps INTEGER NOT NULL DEFAULT 0,
    soft_errors INTEGER NOT NULL DEFAULT 0,
    current_step TEXT
) WITH (fillfactor = 50);
CREATE INDEX idx_execution_state_started ON noetl.execution_state (
    started_at DESC, execution_id DESC
);
CREATE INDEX idx_execution_state_running ON noetl.execution_state (execution_id)
    WHERE status = 'RUNNING';
-- Set once, at the end: for the projector's look at what has ended (P2).
CREATE INDEX idx_execution_state_ended ON noetl.execution_state (ended_at)
    WHERE ended_at IS NOT NULL;
CREATE INDEX idx_execution_state_parent ON noetl.execution_state (parent_execution_id)
    WHERE parent_execution_id IS NOT NULL;

CREATE TABLE noetl.execution_snapshot (
    execution_id BIGINT PRIMARY KEY,
    position BIGINT NOT NULL,
    format INTEGER NOT NULL,
    state BYTEA NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE TABLE noetl.outbox (
    outbox_id BIGSERIAL PRIMARY KEY,
    execution_id BIGINT NOT NULL,
    event_id BIGINT NOT NULL,
    -- 'event': the row of noetl.event (payload NULL: read it there); 'command': a notification;
    -- 'message': a body for another execution's ingress subject
    kind TEXT NOT NULL DEFAULT 'event' CHECK (kind IN ('event', 'command', 'message')),
    subject TEXT,
    message_id TEXT,
    payload JSONB,
    payload_bytes BYTEA,
    payload_codec TEXT NOT NULL DEFAULT 'json',
    status TEXT NOT NULL DEFAULT 'PENDING'
        CHECK (status IN ('PENDING', 'IN_FLIGHT', 'PUBLISHED', 'FAILED', 'PARKED')),
    attempts INTEGER NOT NULL DEFAULT 0,
    available_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    locked_at TIMESTAMPTZ,
    published_at TIMESTAMPTZ,
    last_error TEXT,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- the PubAck (O5)
    stream_created_at TIMESTAMPTZ,
    stream_sequence BIGINT,
    UNIQUE (execution_id, event_id, kind)
) WITH (fillfactor = 70);
CREATE INDEX idx_outbox_ready ON noetl.outbox (available_at, outbox_id)
    WHERE status IN ('PENDING', 'FAILED', 'IN_FLIGHT');
CREATE INDEX idx_outbox_published ON noetl.outbox (published_at, outbox_id)
    WHERE status = 'PUBLISHED';
CREATE INDEX idx_outbox_parked ON noetl.outbox (outbox_id) WHERE status = 'PARKED';

CREATE TABLE noetl.timer (
    timer_id BIGINT PRIMARY KEY,
    execution_id BIGINT NOT NULL,
    due_at TIMESTAMPTZ NOT NULL,
    kind TEXT NOT NULL,
    payload JSONB NOT NULL DEFAULT '{}'::JSONB,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX idx_timer_due ON noetl.timer (due_at);
CREATE INDEX idx_timer_execution ON noetl.timer (execution_id);

-- Keys that make a repeated request harmless: Idempotency-Key and dedup.key (W5).
CREATE TABLE noetl.request_key (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    execution_id BIGINT NOT NULL,
    answer JSONB,
    seen_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, key)
);
CREATE INDEX idx_request_key_seen ON noetl.request_key (seen_at);

CREATE TABLE noetl.result_store (
    result_id BIGINT PRIMARY KEY,
    execution_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    scope TEXT NOT NULL,
    source_step TEXT,
    data JSONB NOT NULL,
    bytes BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    media_type TEXT NOT NULL DEFAULT 'application/json',
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    expires_at TIMESTAMPTZ
);
CREATE INDEX result_store_eid_name ON noetl.result_store (execution_id, name);

CREATE TABLE noetl.transient (
    execution_id BIGINT NOT NULL,
    var_name TEXT NOT NULL,
    var_type TEXT NOT NULL
        CHECK (var_type IN ('user_defined', 'step_result', 'computed', 'iterator_state')),
    var_value JSONB NOT NULL,
    source_step TEXT,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    accessed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    access_count INTEGER NOT NULL DEFAULT 0,
    expires_at TIMESTAMPTZ,
    scope TEXT DEFAULT 'execution' CHECK (scope IN ('step', 'execution', 'workflow', 'permanent')),
    PRIMARY KEY (execution_id, var_name)
);

-- The projector's read model; rebuilt from the log at any time.
CREATE TABLE noetl.execution (
    execution_id BIGINT PRIMARY KEY,
    catalog_id BIGINT NOT NULL,
    parent_execution_id BIGINT,
    path TEXT,
    status VARCHAR NOT NULL,
    start_time TIMESTAMPTZ,
    end_time TIMESTAMPTZ,
    error TEXT,
    last_event_type TEXT,
    last_node_name TEXT,
    last_event_id BIGINT,
    state JSONB,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    position BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX idx_execution_list_page ON noetl.execution (
    start_time DESC NULLS LAST, execution_id DESC
);

-- One row per (day, path, status): counters are differences of old and new execution rows (P1).
CREATE TABLE noetl.execution_counter (
    path TEXT NOT NULL,
    status TEXT NOT NULL,
    executions BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (path, status)
);

-- The shard map every process checks before it serves (S4).
CREATE TABLE noetl.shard_identity (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    cluster_id TEXT NOT NULL,
    shard_index INTEGER NOT NULL,
    shard_count INTEGER NOT NULL
);

DO $$
DECLARE
    edges DATE[] := ARRAY['2026-01-01', '2026-04-01', '2026-07-01', '2026-10-01', '2027-01-01',
                          '2027-07-01', '2028-01-01']::DATE[];
    names TEXT[] := ARRAY['pre_2026', '2026_q1', '2026_q2', '2026_q3', '2026_q4', '2027_h1',
                          '2027_h2'];
    epoch CONSTANT BIGINT := 1704067200000;
    lower_bound TEXT := 'MINVALUE';
    upper_bound TEXT;
    parent TEXT;
BEGIN
    FOR i IN 1 .. array_length(names, 1) LOOP
        upper_bound := (((extract(EPOCH FROM edges[i]::TIMESTAMPTZ AT TIME ZONE 'UTC') * 1000)::BIGINT
                         - epoch) << 22)::TEXT;
        FOREACH parent IN ARRAY ARRAY['event', 'command'] LOOP
            EXECUTE format('CREATE TABLE noetl.%I PARTITION OF noetl.%I FOR VALUES FROM (%s) TO (%s)',
                           parent || '_' || names[i], parent, lower_bound, upper_bound);
        END LOOP;
        lower_bound := upper_bound;
    END LOOP;
    CREATE TABLE noetl.event_default PARTITION OF noetl.event DEFAULT;
    CREATE TABLE noetl.command_default PARTITION OF noetl.command DEFAULT;
END $$;

-- migrate:down
DROP SCHEMA noetl CASCADE;
