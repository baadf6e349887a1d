-- migrate:up
-- One outbox row for all events that a commit writes to the log of an execution.
SET lock_timeout = '4s';
SET statement_timeout = '60s';

-- 'commit': the positions that a commit wrote; its payload is {"first", "last"}
ALTER TABLE noetl.outbox
    DROP CONSTRAINT outbox_kind_check,
    ADD CONSTRAINT outbox_kind_check
        CHECK (kind IN ('event', 'commit', 'command', 'message')) NOT VALID;

-- migrate:down
-- The release before publishes single events only; what waits stays in the log.
DELETE FROM noetl.outbox WHERE kind = 'commit';
ALTER TABLE noetl.outbox
    DROP CONSTRAINT outbox_kind_check,
    ADD CONSTRAINT outbox_kind_check CHECK (kind IN ('event', 'command', 'message'));
