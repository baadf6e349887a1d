-- migrate:up
-- A command that goes to a worker with an answer says so in its own row, and has no outbox row.
SET lock_timeout = '4s';
SET statement_timeout = '5s';

-- The command whose outcome was answered with this one; NULL once its notification is in the
-- outbox. Until notified_at its worker may start it; then it is published.
ALTER TABLE noetl.command ADD COLUMN handed_for BIGINT;

CREATE OR REPLACE VIEW noetl_shown.command AS
SELECT
    c.command_id, c.event_id, c.execution_id, c.catalog_id, c.parent_execution_id,
    c.parent_command_id, c.step_name, c.tool_kind, c.status, c.worker_id, c.claimed_at,
    c.started_at, c.completed_at, c.attempt,
    noetl_shown.masked(c.context, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = c.execution_id AND f.position = 1
    )) AS context,
    c.context_key, c.loop_event_id, c.iter_index,
    noetl_shown.masked(c.meta, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = c.execution_id AND f.position = 1
    )) AS meta,
    noetl_shown.masked(c.result, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = c.execution_id AND f.position = 1
    )) AS result,
    noetl_shown.without(c.error, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = c.execution_id AND f.position = 1
    )) AS error,
    c.latest_event_id, c.prev_event_id, c.created_at, c.updated_at, c.stage_id, c.frame_id,
    c.pool, NULL::TEXT AS instance, c.holds, c.lease_until, c.notified_at, c.notifications,
    c.handed_for
FROM noetl.command AS c;

-- migrate:down
-- Such commands have no outbox row: the release before publishes them as unclaimed ones.
DROP VIEW noetl_shown.command;
ALTER TABLE noetl.command DROP COLUMN handed_for;
CREATE VIEW noetl_shown.command AS
SELECT
    c.command_id, c.event_id, c.execution_id, c.catalog_id, c.parent_execution_id,
    c.parent_command_id, c.step_name, c.tool_kind, c.status, c.worker_id, c.claimed_at,
    c.started_at, c.completed_at, c.attempt,
    noetl_shown.masked(c.context, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = c.execution_id AND f.position = 1
    )) AS context,
    c.context_key, c.loop_event_id, c.iter_index,
    noetl_shown.masked(c.meta, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = c.execution_id AND f.position = 1
    )) AS meta,
    noetl_shown.masked(c.result, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = c.execution_id AND f.position = 1
    )) AS result,
    noetl_shown.without(c.error, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = c.execution_id AND f.position = 1
    )) AS error,
    c.latest_event_id, c.prev_event_id, c.created_at, c.updated_at, c.stage_id, c.frame_id,
    c.pool, NULL::TEXT AS instance, c.holds, c.lease_until, c.notified_at, c.notifications
FROM noetl.command AS c;
