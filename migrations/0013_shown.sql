-- migrate:up
-- What the SQL route shows: views of the tables that hold values of executions, under the same
-- names, with secrets masked as in the answers of the HTTP API. Other tables with secrets are
-- shown to nobody.
SET lock_timeout = '4s';
SET statement_timeout = '5s';

CREATE SCHEMA noetl_shown;

-- The values of sensitive keys of a workload, in the spellings in which they may be put out.
CREATE FUNCTION noetl_shown.secrets_in(workload JSONB) RETURNS TEXT[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog
AS $$
DECLARE
    plain TEXT;
    found TEXT[] := '{}';
BEGIN
    IF workload IS NULL OR workload::TEXT !~* 'passw|pwd|passphrase|secret|token|bearer|jwt|key|auth|credential|pem|cert|connection' THEN
        RETURN found;
    END IF;
    FOR plain IN
        -- certainty: 2 below a key that names a secret value, 1 below one that may
        WITH RECURSIVE part (value, certainty, room) AS (
            SELECT workload, 0, 20
            UNION ALL
            SELECT inner_part.value, greatest(p.certainty, inner_part.certainty), p.room - 1
            FROM part AS p
            CROSS JOIN LATERAL (
                SELECT
                    o.value,
                    CASE
                        WHEN replace(lower(o.key), '-', '_') ~ (
                            '(password|passwd|pwd|passphrase|secret|token|bearer|jwt|api_?key'
                            '|access_?key|private_?key|ssh_?key|encryption_key|decrypt_key'
                            '|master_key|connection_?string)[_0-9]*$'
                        ) THEN 2
                        WHEN lower(o.key) ~ 'passw|pwd|secret|token|auth|credential|pem|cert|key' THEN 1
                        ELSE 0
                    END AS certainty
                FROM jsonb_each(CASE jsonb_typeof(p.value) WHEN 'object' THEN p.value END) AS o
                UNION ALL
                SELECT a.value, 0
                FROM jsonb_array_elements(CASE jsonb_typeof(p.value) WHEN 'array' THEN p.value END) AS a (value)
            ) AS inner_part
            WHERE p.room > 0
        )
        SELECT DISTINCT p.value #>> '{}'
        FROM part AS p
        WHERE jsonb_typeof(p.value) = 'string'
            AND p.certainty > 0
            AND length(p.value #>> '{}') BETWEEN 6 AND 8192
            AND CASE p.certainty
                WHEN 2 THEN length(p.value #>> '{}') >= 12 OR p.value #>> '{}' ~ '[^[:alpha:]]'
                ELSE length(p.value #>> '{}') >= 16 AND p.value #>> '{}' ~ '[0-9]'
                    AND p.value #>> '{}' ~ '[a-z]' AND p.value #>> '{}' ~ '[A-Z]'
                    AND p.value #>> '{}' !~ '\s|://'
            END
        LIMIT 64
    LOOP
        found := found || plain || btrim(to_jsonb(plain)::TEXT, '"')
            || rtrim(replace(encode(convert_to(plain, 'UTF8'), 'base64'), E'\n', ''), '=');
        IF plain ~ '[^A-Za-z0-9_.~-]' AND length(plain) <= 512 THEN
            found := found || (
                SELECT string_agg(
                    CASE
                        WHEN letter ~ '[A-Za-z0-9_.~-]' THEN letter
                        ELSE upper(regexp_replace(encode(convert_to(letter, 'UTF8'), 'hex'), '(..)', '%\1', 'g'))
                    END, '' ORDER BY place
                )
                FROM regexp_split_to_table(plain, '') WITH ORDINALITY AS l (letter, place)
            );
        END IF;
    END LOOP;
    -- Longest first: one may be a part of another.
    RETURN ARRAY(SELECT f FROM unnest(found) AS f GROUP BY f ORDER BY length(f) DESC, f);
END;
$$;

CREATE FUNCTION noetl_shown.without(plain TEXT, secrets TEXT[]) RETURNS TEXT
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog
AS $$
DECLARE
    secret TEXT;
BEGIN
    FOREACH secret IN ARRAY coalesce(secrets, '{}') LOOP
        plain := replace(plain, secret, '[REDACTED]');
    END LOOP;
    RETURN plain;
END;
$$;

-- One value without secrets. Called by `masked`, which sets the search path.
CREATE FUNCTION noetl_shown.masked_part(part JSONB, secrets TEXT[], room INTEGER) RETURNS JSONB
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
    plain TEXT;
BEGIN
    IF room <= 0 THEN
        RETURN '"[REDACTED]"';
    END IF;
    CASE jsonb_typeof(part)
        WHEN 'string' THEN
            plain := part #>> '{}';
            IF plain ~* '^(bearer|basic) ' OR (octet_length(plain) >= 40 AND (
                plain ~ '^[[:alnum:]+/=]+$'
                OR (plain LIKE 'eyJ%.%.%' AND octet_length(plain) > 50)
                OR (plain LIKE '%-----BEGIN%' AND plain LIKE '%PRIVATE KEY-----%')
            )) THEN
                RETURN '"[REDACTED]"';
            END IF;
            IF cardinality(secrets) > 0 THEN
                RETURN to_jsonb(noetl_shown.without(plain, secrets));
            END IF;
            RETURN part;
        WHEN 'object' THEN
            RETURN coalesce((
                SELECT jsonb_object_agg(
                    noetl_shown.without(o.key, secrets),
                    CASE
                        WHEN replace(lower(o.key), '-', '_') ~ (
                            'password|passwd|pwd|secret|token|bearer|api_key|apikey|auth|credential'
                            '|private_key|privatekey|connection_string|connectionstring|gcp_key'
                            '|azure_key|ssh_key|sshkey|passphrase|pem|cert|encryption_key'
                            '|decrypt_key|master_key|cookie'
                        ) THEN '"[REDACTED]"'::JSONB
                        ELSE noetl_shown.masked_part(o.value, secrets, room - 1)
                    END
                )
                FROM jsonb_each(part) AS o
            ), '{}');
        WHEN 'array' THEN
            RETURN coalesce((
                SELECT jsonb_agg(noetl_shown.masked_part(a.value, secrets, room - 1) ORDER BY a.place)
                FROM jsonb_array_elements(part) WITH ORDINALITY AS a (value, place)
            ), '[]');
        ELSE
            RETURN part;
    END CASE;
END;
$$;

CREATE FUNCTION noetl_shown.masked(body JSONB, secrets TEXT[]) RETURNS JSONB
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog
AS $$
BEGIN
    IF body IS NULL OR (coalesce(cardinality(secrets), 0) = 0 AND body::TEXT !~* (
        'passw|pwd|secret|token|bearer|api[-_]?key|auth|credential|private|connection[-_]?string|gcp[-_]key'
        '|azure[-_]key|ssh[-_]?key|passphrase|pem|cert|crypt|master[-_]key|cookie|basic |eyJ'
        '|[[:alnum:]+/=]{40}'
    )) THEN
        RETURN body;
    END IF;
    RETURN noetl_shown.masked_part(body, coalesce(secrets, '{}'), 64);
END;
$$;

-- Columns in the order of the tables, for `SELECT *`.
CREATE VIEW noetl_shown.event AS
SELECT
    e.execution_id, e.catalog_id, e.event_id, e.parent_event_id, e.parent_execution_id,
    e.created_at, e.event_type, e.node_id, e.node_name, e.node_type, e.status, e.duration,
    noetl_shown.masked(e.context, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = e.execution_id AND f.position = 1
    )) AS context,
    noetl_shown.masked(e.result, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = e.execution_id AND f.position = 1
    )) AS result,
    noetl_shown.masked(e.meta, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = e.execution_id AND f.position = 1
    )) AS meta,
    noetl_shown.without(e.error, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = e.execution_id AND f.position = 1
    )) AS error,
    e.current_index, NULL::TEXT AS current_item, e.worker_id, e.distributed_state, e.context_key,
    NULL::TEXT AS context_value, NULL::JSONB AS trace_component, NULL::TEXT AS stack_trace,
    e.tenant_id, e.organization_id, e.stream_id, e.stream_version, e.aggregate_id,
    e.aggregate_type, e.schema_name, e.schema_version, e.event_time, e.ingest_time, e.producer,
    e.causation_id, e.correlation_id, e.idempotency_key, NULL::JSONB AS payload_ref,
    e.envelope_checksum, e.prev_event_id, e.command_id, e.stage_id, e.frame_id, e.position,
    NULL::JSONB AS note
FROM noetl.event AS e;

CREATE VIEW noetl_shown.command AS
SELECT
    c.command_id, c.event_id, c.execution_id, c.catalog_id, c.parent_execution_id,
    c.parent_command_id, c.step_name, c.tool_kind, c.status, c.worker_id, c.claimed_at,
    c.started_at, c.completed_at, c.attempt,
    noetl_shown.masked(c.context, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = c.execution_id AND f.position = 1
    )) AS context,
    c.context_key, c.loop_event_id, c.iter_index,
    noetl_shown.masked(c.meta, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = c.execution_id AND f.position = 1
    )) AS meta,
    noetl_shown.masked(c.result, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = c.execution_id AND f.position = 1
    )) AS result,
    noetl_shown.without(c.error, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = c.execution_id AND f.position = 1
    )) AS error,
    c.latest_event_id, c.prev_event_id, c.created_at, c.updated_at, c.stage_id, c.frame_id,
    c.pool, NULL::TEXT AS instance, c.holds, c.lease_until, c.notified_at, c.notifications
FROM noetl.command AS c;

CREATE VIEW noetl_shown.execution_state AS
SELECT
    s.execution_id, s.catalog_id, s.path, s.version, s.parent_execution_id, s.status, s.position,
    s.snapshot_position, s.started_at, s.ended_at, s.updated_at,
    noetl_shown.without(s.error, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = s.execution_id AND f.position = 1
    )) AS error,
    s.total_steps, s.completed_steps, s.running_steps, s.failed_steps, s.soft_errors,
    s.current_step
FROM noetl.execution_state AS s;

CREATE VIEW noetl_shown.execution AS
SELECT
    x.execution_id, x.catalog_id, x.parent_execution_id, x.path, x.status, x.start_time,
    x.end_time,
    noetl_shown.without(x.error, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = x.execution_id AND f.position = 1
    )) AS error,
    x.last_event_type, x.last_node_name, x.last_event_id,
    noetl_shown.masked(x.state, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = x.execution_id AND f.position = 1
    )) AS state,
    x.created_at, x.updated_at, x.position
FROM noetl.execution AS x;

CREATE VIEW noetl_shown.result_store AS
SELECT
    r.result_id, r.execution_id, r.name, r.scope, r.source_step,
    noetl_shown.masked(r.data, (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = r.execution_id AND f.position = 1
    )) AS data,
    r.bytes, r.sha256, r.media_type, r.created_at, r.expires_at, r.store, NULL::TEXT AS location
FROM noetl.result_store AS r;

CREATE VIEW noetl_shown.transient AS
SELECT
    t.execution_id, t.var_name, t.var_type,
    noetl_shown.masked(jsonb_build_object(t.var_name, t.var_value), (
        SELECT noetl_shown.secrets_in(f.context -> 'workload') FROM noetl.event AS f
        WHERE f.execution_id = t.execution_id AND f.position = 1
    )) -> t.var_name AS var_value,
    t.source_step, t.created_at, t.accessed_at, t.access_count, t.expires_at, t.scope
FROM noetl.transient AS t;

CREATE VIEW noetl_shown.runtime AS
SELECT
    r.runtime_id, r.name, r.kind, r.uri, r.status, r.labels, r.capabilities, r.capacity,
    noetl_shown.masked(r.runtime, '{}') AS runtime, r.heartbeat, r.created_at, r.updated_at,
    NULL::TEXT AS instance, r.process_since, r.deregistered_at, r.over_edge,
    r.registered_by
FROM noetl.runtime AS r;

-- Let a role read what is shown: the views, and of other tables the columns without secrets.
-- Tables and columns that a later migration adds are shown when it says so.
CREATE FUNCTION noetl_shown.let_read(reader NAME) RETURNS VOID
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
DECLARE
    one RECORD;
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA noetl, noetl_shown TO %I', reader);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA noetl_shown TO %I', reader);
    FOR one IN
        SELECT t.name, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) AS columns
        FROM (VALUES
            ('event', ARRAY[
                'context', 'result', 'meta', 'note', 'error', 'current_item', 'context_value',
                'trace_component', 'stack_trace', 'payload_ref'
            ]),
            ('command', ARRAY['context', 'meta', 'result', 'error', 'instance']),
            ('execution_state', ARRAY['error']),
            ('execution', ARRAY['error', 'state']),
            ('result_store', ARRAY['data', 'location']),
            ('transient', ARRAY['var_value']),
            ('runtime', ARRAY['instance', 'runtime']),
            ('timer', ARRAY['payload']),
            ('outbox', ARRAY['payload', 'payload_bytes', 'last_error']),
            ('execution_snapshot', ARRAY['state']),
            ('catalog', '{}'), ('resource', '{}'), ('machine_lease', '{}'), ('schedule', '{}'),
            ('child', '{}'), ('execution_counter', '{}'), ('execution_day', '{}'),
            ('subscription', '{}'), ('shard_identity', '{}'), ('schema_migrations', '{}')
        ) AS t (name, withheld)
        INNER JOIN pg_class AS c ON c.relname = t.name
        INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = 'noetl'
        INNER JOIN pg_attribute AS a ON a.attrelid = c.oid
        WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attname <> ALL (t.withheld)
        GROUP BY t.name
    LOOP
        EXECUTE format('GRANT SELECT (%s) ON noetl.%I TO %I', one.columns, one.name, reader);
    END LOOP;
END;
$$;
-- For who owns the schema; what the other functions do, every reader of the views has to call.
REVOKE EXECUTE ON FUNCTION noetl_shown.let_read FROM public;

-- migrate:down
DROP FUNCTION noetl_shown.let_read(NAME);
DROP VIEW
    noetl_shown.runtime, noetl_shown.transient, noetl_shown.result_store, noetl_shown.execution,
    noetl_shown.execution_state, noetl_shown.command, noetl_shown.event;
DROP FUNCTION noetl_shown.masked(JSONB, TEXT[]);
DROP FUNCTION noetl_shown.masked_part(JSONB, TEXT[], INTEGER);
DROP FUNCTION noetl_shown.without(TEXT, TEXT[]);
DROP FUNCTION noetl_shown.secrets_in(JSONB);
DROP SCHEMA noetl_shown;
