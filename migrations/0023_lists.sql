-- migrate:up
-- Lists are read from indexes in their order, whatever they are filtered by.
-- Those of executions are written when an execution begins and when it ends, not in between.
SET lock_timeout = '4s';
SET statement_timeout = '10min';

CREATE INDEX IF NOT EXISTS idx_execution_state_status ON noetl.execution_state (
    status, started_at DESC, execution_id DESC
);
CREATE INDEX IF NOT EXISTS idx_execution_state_path ON noetl.execution_state (
    path, status, started_at DESC, execution_id DESC
);
CREATE INDEX IF NOT EXISTS idx_execution_state_catalog ON noetl.execution_state (
    catalog_id, status, started_at DESC, execution_id DESC
);
CREATE INDEX IF NOT EXISTS idx_execution_state_children ON noetl.execution_state (
    parent_execution_id, status, started_at DESC, execution_id DESC
) WHERE parent_execution_id IS NOT NULL;
DROP INDEX noetl.idx_execution_state_parent;
-- Only timers of waits are in these.
CREATE INDEX IF NOT EXISTS idx_timer_signal ON noetl.timer ((payload ->> 'signal'), timer_id)
WHERE kind = 'wait';
CREATE INDEX IF NOT EXISTS idx_timer_for_signal ON noetl.timer (timer_id)
WHERE kind = 'wait' AND payload ->> 'signal' != '';
-- Failures by time; the open ones have an index of their own.
CREATE INDEX IF NOT EXISTS idx_failure_time ON noetl.failure (failed_at DESC, execution_id DESC);
CREATE INDEX IF NOT EXISTS idx_failure_dismissed ON noetl.failure (
    failed_at DESC, execution_id DESC
) WHERE dismissed_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_failure_restarted ON noetl.failure (
    failed_at DESC, execution_id DESC
) WHERE restarted_as IS NOT NULL;
-- What is asked of the audit beside callers and objects: what was refused, and single rights.
CREATE INDEX IF NOT EXISTS access_audit_right ON noetl.access_audit (
    access_right, occurred_at DESC, record_id DESC
);
CREATE INDEX IF NOT EXISTS access_audit_outcome ON noetl.access_audit (
    outcome, occurred_at DESC, record_id DESC
);
CREATE INDEX IF NOT EXISTS schedule_firing_state ON noetl.schedule_firing (
    schedule_id, state, scheduled_at DESC
);

-- migrate:down
CREATE INDEX idx_execution_state_parent ON noetl.execution_state (parent_execution_id)
WHERE parent_execution_id IS NOT NULL;
DROP INDEX
noetl.schedule_firing_state, noetl.access_audit_outcome, noetl.access_audit_right,
noetl.idx_failure_restarted, noetl.idx_failure_dismissed, noetl.idx_failure_time,
noetl.idx_timer_for_signal, noetl.idx_timer_signal,
noetl.idx_execution_state_children, noetl.idx_execution_state_catalog,
noetl.idx_execution_state_path, noetl.idx_execution_state_status;
