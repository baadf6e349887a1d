-- Columns of a log row `e`, for the statements of all services.

-- list: log_row
-- The fields of `EventRow`.
SELECT
    e.execution_id, e.position, e.event_id, e.event_type,
    e.created_at AT TIME ZONE 'UTC' AS created_at, e.catalog_id, e.node_id, e.node_name,
    e.node_type, e.status, e.parent_event_id, e.parent_execution_id, e.context, e.result, e.meta,
    e.error, e.worker_id, e.note
FROM noetl.event AS e;

-- list: published_log_row
-- The part of a log row that subscribers see; only commands need their context, which may be large.
SELECT
    e.position, e.event_type, e.created_at AT TIME ZONE 'UTC' AS created_at, e.catalog_id,
    e.node_id, e.node_name, e.node_type, e.status, e.parent_event_id, e.parent_execution_id,
    CASE WHEN e.event_type = 'command.issued' THEN e.context END AS context,
    e.result, e.meta, e.error, e.worker_id
FROM noetl.event AS e;
