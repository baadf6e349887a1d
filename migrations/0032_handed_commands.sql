-- migrate:up
-- Commands that go to a worker with the answer to the outcome of the one before.
SET lock_timeout = '4s';
SET statement_timeout = '5s';

-- The command whose outcome was answered with this one. Until its worker tells of it the row waits,
-- by available_at; releases before this one publish it then.
ALTER TABLE noetl.outbox ADD COLUMN handed_for BIGINT;

-- migrate:down
ALTER TABLE noetl.outbox DROP COLUMN handed_for;
