-- migrate:up
-- What the routes of operators and subscriptions need.
SET lock_timeout = '4s';
-- The index reads the log once; on a log that is years old this takes longer than the usual 5 s.
SET statement_timeout = '600s';

-- Events are asked for by their id alone. Ids grow with the log, so ranges of pages tell them
-- apart and an insert costs nothing; outliers, which clients may send, don't widen the ranges.
CREATE INDEX idx_event_event_id ON noetl.event
    USING brin (event_id int8_minmax_multi_ops)
    WITH (pages_per_range = 32, autosummarize = on);

-- The state of a subscription by its lifecycle rows in the log, written with them.
CREATE TABLE noetl.subscription (
    subscription_id BIGINT PRIMARY KEY,
    path TEXT NOT NULL,
    catalog_id BIGINT NOT NULL,
    state TEXT NOT NULL,
    last_event_type TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX idx_subscription_path ON noetl.subscription (path)
    WHERE state != 'DEACTIVATED';

-- Finished commands are removed by age.
CREATE INDEX idx_command_completed ON noetl.command (completed_at)
    WHERE completed_at IS NOT NULL;

-- migrate:down
DROP INDEX noetl.idx_command_completed;
DROP TABLE noetl.subscription;
DROP INDEX noetl.idx_event_event_id;
