-- migrate:up
-- Which way a runtime's heartbeats come, so that its silence counts only while that way is open.
SET lock_timeout = '4s';
SET statement_timeout = '5s';

ALTER TABLE noetl.runtime ADD COLUMN over_edge BOOLEAN NOT NULL DEFAULT FALSE;

-- migrate:down
ALTER TABLE noetl.runtime DROP COLUMN over_edge;
