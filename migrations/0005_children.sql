-- migrate:up
-- Which child executions a command has started, on the shard of the parent: a command that is
-- issued again finds them instead of starting second ones, and an end reaches them on whatever
-- shard they are (L6).
SET lock_timeout = '4s';
SET statement_timeout = '5s';

CREATE TABLE noetl.child (
    execution_id BIGINT NOT NULL,
    -- the command.issued row; 0 for a child on another shard that no command is known of
    event_id BIGINT NOT NULL,
    child_id BIGINT NOT NULL,
    path TEXT NOT NULL,
    payload_digest TEXT NOT NULL,
    -- the run of the command that asked for it last: how often the command had been handed out
    run INTEGER NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (execution_id, event_id, child_id)
);

-- migrate:down
DROP TABLE noetl.child;
