-- migrate:up
-- Later servers chain the events of an execution by the id of the one before, which positions tell.
SET lock_timeout = '4s';

CREATE OR REPLACE VIEW noetl_shown.event AS
SELECT
    e.execution_id, e.catalog_id, e.event_id, e.parent_event_id, e.parent_execution_id,
    e.created_at, e.event_type, e.node_id, e.node_name, e.node_type, e.status, e.duration,
    noetl_shown.masked(e.context, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = e.execution_id AND f.position = 1
    )) AS context,
    noetl_shown.masked(e.result, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = e.execution_id AND f.position = 1
    )) AS result,
    noetl_shown.masked(e.meta, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = e.execution_id AND f.position = 1
    )) AS meta,
    noetl_shown.without(e.error, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = e.execution_id AND f.position = 1
    )) AS error,
    e.current_index, NULL::TEXT AS current_item, e.worker_id, e.distributed_state, e.context_key,
    NULL::TEXT AS context_value, NULL::JSONB AS trace_component, NULL::TEXT AS stack_trace,
    e.tenant_id, e.organization_id, e.stream_id, e.stream_version, e.aggregate_id,
    e.aggregate_type, e.schema_name, e.schema_version, e.event_time, e.ingest_time, e.producer,
    e.causation_id, e.correlation_id, e.idempotency_key, NULL::JSONB AS payload_ref,
    e.envelope_checksum,
    CASE WHEN e.position > 1 THEN (
        SELECT p.event_id FROM noetl.event AS p
        WHERE p.execution_id = e.execution_id AND p.position = e.position - 1
    ) END AS prev_event_id,
    e.command_id, e.stage_id, e.frame_id, e.position,
    NULL::JSONB AS note
FROM noetl.event AS e;

-- migrate:down
CREATE OR REPLACE VIEW noetl_shown.event AS
SELECT
    e.execution_id, e.catalog_id, e.event_id, e.parent_event_id, e.parent_execution_id,
    e.created_at, e.event_type, e.node_id, e.node_name, e.node_type, e.status, e.duration,
    noetl_shown.masked(e.context, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = e.execution_id AND f.position = 1
    )) AS context,
    noetl_shown.masked(e.result, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = e.execution_id AND f.position = 1
    )) AS result,
    noetl_shown.masked(e.meta, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = e.execution_id AND f.position = 1
    )) AS meta,
    noetl_shown.without(e.error, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = e.execution_id AND f.position = 1
    )) AS error,
    e.current_index, NULL::TEXT AS current_item, e.worker_id, e.distributed_state, e.context_key,
    NULL::TEXT AS context_value, NULL::JSONB AS trace_component, NULL::TEXT AS stack_trace,
    e.tenant_id, e.organization_id, e.stream_id, e.stream_version, e.aggregate_id,
    e.aggregate_type, e.schema_name, e.schema_version, e.event_time, e.ingest_time, e.producer,
    e.causation_id, e.correlation_id, e.idempotency_key, NULL::JSONB AS payload_ref,
    e.envelope_checksum, e.prev_event_id, e.command_id, e.stage_id, e.frame_id, e.position,
    NULL::JSONB AS note
FROM noetl.event AS e;
