-- migrate:up
-- Failures of a step or of some paths are read from indexes in their order, like all of them.
-- A new failure is written into those of the open ones and those of all.
SET lock_timeout = '4s';
SET statement_timeout = '10min';

-- What failures are grouped by is beside their times, so that the rows are not read.
CREATE INDEX IF NOT EXISTS idx_failure_all_time ON noetl.failure (
    failed_at DESC, execution_id DESC
) INCLUDE (fingerprint);
CREATE INDEX IF NOT EXISTS idx_failure_open_time ON noetl.failure (
    failed_at DESC, execution_id DESC
) INCLUDE (fingerprint) WHERE dismissed_at IS NULL AND restarted_as IS NULL;
-- Those without the fingerprint are used for nothing else.
DROP INDEX noetl.idx_failure_time, noetl.idx_failure_open;

-- An index takes no long texts: failures with such a path or step are in two for themselves.
CREATE INDEX IF NOT EXISTS idx_failure_open_path ON noetl.failure (
    path, failed_at DESC, execution_id DESC
) INCLUDE (fingerprint)
WHERE octet_length(path) <= 500 AND dismissed_at IS NULL AND restarted_as IS NULL;
CREATE INDEX IF NOT EXISTS idx_failure_dismissed_path ON noetl.failure (
    path, failed_at DESC, execution_id DESC
) INCLUDE (fingerprint) WHERE octet_length(path) <= 500 AND dismissed_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_failure_restarted_path ON noetl.failure (
    path, failed_at DESC, execution_id DESC
) INCLUDE (fingerprint) WHERE octet_length(path) <= 500 AND restarted_as IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_failure_all_path ON noetl.failure (
    path, failed_at DESC, execution_id DESC
) INCLUDE (fingerprint) WHERE octet_length(path) <= 500;
CREATE INDEX IF NOT EXISTS idx_failure_long_path ON noetl.failure (
    failed_at DESC, execution_id DESC
) WHERE octet_length(path) > 500;
CREATE INDEX IF NOT EXISTS idx_failure_open_step ON noetl.failure (
    step, failed_at DESC, execution_id DESC
) INCLUDE (fingerprint)
WHERE octet_length(step) <= 500 AND dismissed_at IS NULL AND restarted_as IS NULL;
CREATE INDEX IF NOT EXISTS idx_failure_dismissed_step ON noetl.failure (
    step, failed_at DESC, execution_id DESC
) INCLUDE (fingerprint) WHERE octet_length(step) <= 500 AND dismissed_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_failure_restarted_step ON noetl.failure (
    step, failed_at DESC, execution_id DESC
) INCLUDE (fingerprint) WHERE octet_length(step) <= 500 AND restarted_as IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_failure_all_step ON noetl.failure (
    step, failed_at DESC, execution_id DESC
) INCLUDE (fingerprint) WHERE octet_length(step) <= 500;
CREATE INDEX IF NOT EXISTS idx_failure_long_step ON noetl.failure (
    failed_at DESC, execution_id DESC
) WHERE octet_length(step) > 500;

-- migrate:down
CREATE INDEX idx_failure_time ON noetl.failure (failed_at DESC, execution_id DESC);
CREATE INDEX idx_failure_open ON noetl.failure (failed_at DESC, execution_id DESC)
WHERE dismissed_at IS NULL AND restarted_as IS NULL;
DROP INDEX
noetl.idx_failure_long_step, noetl.idx_failure_all_step, noetl.idx_failure_restarted_step,
noetl.idx_failure_dismissed_step, noetl.idx_failure_open_step, noetl.idx_failure_long_path,
noetl.idx_failure_all_path, noetl.idx_failure_restarted_path, noetl.idx_failure_dismissed_path,
noetl.idx_failure_open_path, noetl.idx_failure_open_time, noetl.idx_failure_all_time;
