-- migrate:up
-- Libraries of steps: the locks that a version's requirements were resolved to, by their digest.
-- Null for versions without any, and for those that were registered before.
SET lock_timeout = '4s';

ALTER TABLE noetl.catalog ADD COLUMN libraries JSONB;

-- migrate:down
ALTER TABLE noetl.catalog DROP COLUMN libraries;
