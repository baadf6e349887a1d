-- migrate:up
-- Who registered a subscription or a trigger, and what he reaches: what it starts has his rights.
SET lock_timeout = '4s';
SET statement_timeout = '5s';

-- A principal with name, kind, namespaces and pools. NULL for documents of other kinds, where
-- callers aren't known, and for those of a release before: what these start stays in the folder of
-- its playbook until they are registered anew.
ALTER TABLE noetl.catalog ADD COLUMN registrant JSONB;

-- migrate:down
ALTER TABLE noetl.catalog DROP COLUMN registrant;
