-- migrate:up
-- A role per service, with the rights that its statements need. Roles belong to the server and
-- are made by who runs it (noetl-server db-roles); a missing one is left out.
SET lock_timeout = '4s';
SET statement_timeout = '5s';

-- The rights of each role. What a later migration adds has to be added here.
CREATE FUNCTION noetl.service_rights()
RETURNS TABLE (role_name TEXT, table_name TEXT, privileges TEXT)
LANGUAGE sql STABLE AS $$
    SELECT 'noetl_' || r.service, t.table_name, r.privileges
    FROM (VALUES
        ('orchestrator', 'SELECT, INSERT, UPDATE, DELETE', ARRAY[
            'event', 'command', 'subscription', 'execution_state', 'execution_snapshot', 'timer',
            'request_key', 'child'
        ]),
        -- Written with the log, reset for repetitions, deleted at the end of the retention.
        ('orchestrator', 'SELECT, INSERT, UPDATE, DELETE', ARRAY['outbox']),
        ('orchestrator', 'SELECT, DELETE', ARRAY['result_store', 'transient', 'execution']),
        -- By the trigger on deleted results.
        ('orchestrator', 'SELECT, INSERT, UPDATE', ARRAY['result_body_removal']),
        ('orchestrator', 'SELECT, UPDATE', ARRAY['execution_counter']),
        ('outbox', 'SELECT, INSERT, UPDATE, DELETE', ARRAY['outbox']),
        ('outbox', 'SELECT', ARRAY['event', 'command']),
        ('projector', 'SELECT, INSERT, UPDATE, DELETE', ARRAY[
            'execution', 'execution_counter', 'execution_day', 'transient', 'result_store',
            'result_body_removal'
        ]),
        ('projector', 'SELECT', ARRAY[
            'event', 'command', 'execution_state', 'execution_snapshot', 'subscription',
            'request_key', 'timer', 'child',
            -- Of the cluster, for the SQL route.
            'catalog', 'resource', 'runtime', 'machine_lease', 'schedule', 'outbox'
        ]),
        ('catalog', 'SELECT, INSERT, UPDATE, DELETE', ARRAY[
            'catalog', 'resource', 'runtime', 'machine_lease', 'credential', 'keychain',
            'secret_audit', 'api_key', 'access_grant', 'access_audit'
        ]),
        ('orchestrator', 'SELECT, INSERT', ARRAY['shard_identity']),
        ('outbox', 'SELECT, INSERT', ARRAY['shard_identity']),
        ('projector', 'SELECT, INSERT', ARRAY['shard_identity']),
        ('catalog', 'SELECT, INSERT', ARRAY['shard_identity']),
        ('orchestrator', 'SELECT', ARRAY['schema_migrations']),
        ('outbox', 'SELECT', ARRAY['schema_migrations']),
        ('projector', 'SELECT', ARRAY['schema_migrations']),
        ('catalog', 'SELECT', ARRAY['schema_migrations'])
    ) AS r (service, privileges, names)
    CROSS JOIN LATERAL unnest(r.names) AS t (table_name)
$$;

-- Give the roles that exist their rights in this database; safe to repeat.
CREATE FUNCTION noetl.grant_to_services() RETURNS VOID
LANGUAGE plpgsql AS $$
DECLARE
    one RECORD;
BEGIN
    FOR one IN
        SELECT DISTINCT r.role_name FROM noetl.service_rights() AS r
        WHERE to_regrole(r.role_name) IS NOT NULL
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA noetl TO %I', one.role_name);
    END LOOP;
    FOR one IN
        SELECT r.role_name, r.table_name, r.privileges FROM noetl.service_rights() AS r
        WHERE to_regrole(r.role_name) IS NOT NULL
            AND to_regclass('noetl.' || r.table_name) IS NOT NULL
    LOOP
        EXECUTE format('GRANT %s ON noetl.%I TO %I', one.privileges, one.table_name, one.role_name);
    END LOOP;
    -- Who makes and drops partitions has to own log and commands.
    IF to_regrole('noetl_orchestrator') IS NOT NULL THEN
        GRANT CREATE ON SCHEMA noetl TO noetl_orchestrator;
        FOR one IN
            SELECT c.oid::REGCLASS AS name
            FROM pg_class AS c
            INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = 'noetl'
            LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid
            WHERE coalesce(i.inhparent, c.oid) IN (
                'noetl.event'::REGCLASS, 'noetl.command'::REGCLASS
            )
            AND c.relkind IN ('r', 'p')
            AND c.relowner <> to_regrole('noetl_orchestrator')
        LOOP
            EXECUTE format('ALTER TABLE %s OWNER TO noetl_orchestrator', one.name);
        END LOOP;
    END IF;
    -- The role of the SQL route, which reads what is shown.
    IF to_regrole('noetl_projector_sql_console') IS NOT NULL
        AND to_regprocedure('noetl_shown.let_read(name)') IS NOT NULL THEN
        EXECUTE 'SELECT noetl_shown.let_read(''noetl_projector_sql_console'')';
    END IF;
END;
$$;

SELECT noetl.grant_to_services();

-- migrate:down
DROP FUNCTION noetl.grant_to_services();
DROP FUNCTION noetl.service_rights();
