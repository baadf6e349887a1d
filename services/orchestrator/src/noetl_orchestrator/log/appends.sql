-- Rows appended to the log without a decision of the engine (W12).

-- list: subscription
SELECT
    s.subscription_id, s.path, s.catalog_id, s.state, s.last_event_type, s.updated_at
FROM noetl.subscription AS s;

-- name: lock_states
-- The state rows of executions, locked in the order in which commits lock them. $1 ids
SELECT s.execution_id, s.catalog_id, s.position
FROM noetl.execution_state AS s
WHERE s.execution_id = ANY($1::BIGINT[])
ORDER BY s.execution_id
FOR UPDATE;

-- name: lock_log
-- Locks a log without a state row until the transaction ends. $1 execution id
SELECT pg_advisory_xact_lock(hashtextextended('noetl.log', $1::BIGINT));

-- name: find_ends
-- The last position and the catalog id of logs without a state row. $1 ids
SELECT e.execution_id, max(e.position) AS position, min(e.catalog_id) AS catalog_id
FROM noetl.event AS e
WHERE e.execution_id = ANY($1::BIGINT[])
GROUP BY e.execution_id;

-- name: append_rows
-- Appends the rows whose ids are new to their log, in their order; returns ids and positions.
-- $1 rows, $2 execution ids and $3 their last positions
WITH given AS MATERIALIZED (
    SELECT *
    FROM
        json_to_recordset($1::JSON) AS g (
            number INTEGER,
            execution_id BIGINT,
            event_id BIGINT,
            catalog_id BIGINT,
            parent_event_id BIGINT,
            event_type TEXT,
            node_id TEXT,
            node_name TEXT,
            node_type TEXT,
            status TEXT,
            error TEXT,
            stack_trace TEXT,
            duration DOUBLE PRECISION,
            context JSONB,
            result JSONB,
            meta JSONB,
            tenant_id TEXT,
            organization_id TEXT,
            created_at TIMESTAMPTZ,
            worker_id TEXT,
            outbox_id BIGINT,
            subject TEXT
        )
),

fresh AS (
    SELECT DISTINCT ON (g.execution_id, g.event_id) g.*
    FROM given AS g
    WHERE
        NOT EXISTS (
            SELECT FROM noetl.event AS e
            WHERE e.execution_id = g.execution_id AND e.event_id = g.event_id
        )
    ORDER BY g.execution_id, g.event_id, g.number
),

numbered AS MATERIALIZED (
    SELECT
        f.*,
        w.position + row_number() OVER (PARTITION BY f.execution_id ORDER BY f.number) AS position
    FROM fresh AS f
    INNER JOIN unnest($2::BIGINT[], $3::BIGINT[]) AS w (execution_id, position)
        ON w.execution_id = f.execution_id
),

appended AS (
    INSERT INTO noetl.event (
        execution_id, catalog_id, event_id, parent_event_id, created_at, event_type, node_id,
        node_name, node_type, status, error, stack_trace, duration, context, result, meta,
        tenant_id, organization_id, worker_id, position, note
    )
    SELECT
        n.execution_id, n.catalog_id, n.event_id, n.parent_event_id,
        coalesce(n.created_at, clock_timestamp()) AT TIME ZONE 'UTC', n.event_type, n.node_id,
        n.node_name, n.node_type, n.status, n.error, n.stack_trace, n.duration, n.context,
        n.result, n.meta, coalesce(n.tenant_id, 'default'),
        coalesce(n.organization_id, 'default'), n.worker_id, n.position, '{"inert": true}'::JSONB
    FROM numbered AS n
),

announced AS (
    INSERT INTO noetl.outbox (outbox_id, execution_id, event_id, kind, subject, message_id)
    SELECT
        n.outbox_id, n.execution_id, n.event_id, 'event', n.subject,
        'e:' || n.execution_id || ':' || n.position
    FROM numbered AS n
    WHERE n.outbox_id IS NOT NULL
),

moved AS (
    UPDATE noetl.execution_state AS s
    SET position = m.position, updated_at = clock_timestamp()
    FROM (
        SELECT n.execution_id, max(n.position) AS position
        FROM numbered AS n
        GROUP BY n.execution_id
    ) AS m
    WHERE s.execution_id = m.execution_id
)

SELECT n.execution_id, n.event_id, n.position
FROM numbered AS n
ORDER BY n.number;

-- name: lock_subscription_path
-- Serialises registrations of one path. $1 path
SELECT pg_advisory_xact_lock(hashtextextended('noetl.subscription:' || $1::TEXT, 0));

-- name: find_registered
-- The open subscription of a path. $1 path
SELECT {subscription}
FROM noetl.subscription AS s
WHERE s.path = $1 AND s.state != 'DEACTIVATED';

-- name: lock_subscription
-- A subscription, for a change of its state. $1 id
SELECT {subscription}
FROM noetl.subscription AS s
WHERE s.subscription_id = $1
FOR UPDATE;

-- name: put_subscription
-- Stores the state of a lifecycle row. $1 id, $2 path, $3 catalog id, $4 state, $5 type
INSERT INTO noetl.subscription AS s (subscription_id, path, catalog_id, state, last_event_type)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (subscription_id) DO UPDATE
    SET state = excluded.state, last_event_type = excluded.last_event_type, updated_at = now()
RETURNING {subscription};
