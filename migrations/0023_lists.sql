-- migrate:up
-- Lists of executions are read from indexes in their order, whatever they are filtered by.
-- The indexes are written when an execution begins and when it ends, not in between.
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

-- migrate:down
CREATE INDEX idx_execution_state_parent ON noetl.execution_state (parent_execution_id)
WHERE parent_execution_id IS NOT NULL;
DROP INDEX
noetl.idx_execution_state_children, noetl.idx_execution_state_catalog,
noetl.idx_execution_state_path, noetl.idx_execution_state_status;
