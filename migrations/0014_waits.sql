-- migrate:up
-- Open waits are found by the timers of their ends.
SET lock_timeout = '4s';
SET statement_timeout = '60s';

CREATE INDEX idx_timer_wait ON noetl.timer (timer_id) WHERE kind = 'wait';

-- migrate:down
DROP INDEX noetl.idx_timer_wait;
