-- Partitions of the log: created ahead, dropped when they are no longer needed (S3).

-- name: read_clock
-- This database's time.
SELECT clock_timestamp();

-- name: try_lock
-- Tries to lock changes of partitions until the transaction ends.
SELECT pg_try_advisory_xact_lock(hashtextextended('noetl.partitions', 0));

-- name: limit_lock_wait
-- Ends the wait of this transaction for a lock on the log: all later ones would wait behind it.
SELECT set_config('lock_timeout', '2s', TRUE);

-- name: list_partitions
-- The partitions of the log and of the commands, with their bounds as the server prints them.
SELECT
    parent.relname AS parent,
    part.relname AS name,
    pg_get_expr(part.relpartbound, part.oid) AS bound
FROM pg_inherits AS i
INNER JOIN pg_class AS part
    ON part.oid = i.inhrelid
INNER JOIN pg_class AS parent
    ON parent.oid = i.inhparent
INNER JOIN pg_namespace AS n
    ON n.oid = parent.relnamespace
WHERE n.nspname = 'noetl' AND parent.relname IN ('event', 'command');

-- name: statements_to_add
-- Statements that create a partition without a long scan of the default one, whose rows of that
-- time they move. $1 parent, $2 name, $3 lower and $4 upper bound
SELECT ARRAY[
    format('CREATE TABLE noetl.%I (LIKE noetl.%I INCLUDING ALL)', $2::TEXT, $1::TEXT),
    format(
        'WITH moved AS (DELETE FROM noetl.%I AS d'
        ' WHERE d.execution_id >= %s AND d.execution_id < %s RETURNING d.*)'
        ' INSERT INTO noetl.%I SELECT m.* FROM moved AS m',
        $1::TEXT || '_default', $3::BIGINT, $4::BIGINT, $2::TEXT
    ),
    format(
        'ALTER TABLE noetl.%I ADD CONSTRAINT bounds'
        ' CHECK (execution_id >= %s AND execution_id < %s)',
        $2::TEXT, $3::BIGINT, $4::BIGINT
    ),
    format(
        'ALTER TABLE noetl.%I ATTACH PARTITION noetl.%I FOR VALUES FROM (%s) TO (%s)',
        $1::TEXT, $2::TEXT, $3::BIGINT, $4::BIGINT
    ),
    format('ALTER TABLE noetl.%I DROP CONSTRAINT bounds', $2::TEXT)
] AS statements;

-- name: statement_to_drop
-- The statement that drops a partition. $1 its name
SELECT format('DROP TABLE noetl.%I', $1::TEXT);

-- name: is_needed
-- True if a range has executions or subscriptions that run or ended lately, rows to publish, or
-- executions that no archive has as they are.
-- $1 lower and $2 upper bound, $3 ends before this time are old, $4 whether archives count
SELECT
    EXISTS (
        SELECT FROM noetl.execution_state AS s
        WHERE
            s.execution_id >= $1 AND s.execution_id < $2
            AND (s.ended_at IS NULL OR s.ended_at > $3)
    )
    OR EXISTS (
        SELECT FROM noetl.subscription AS s
        WHERE
            s.subscription_id >= $1 AND s.subscription_id < $2
            AND (s.state != 'DEACTIVATED' OR s.updated_at > $3)
    )
    OR EXISTS (
        SELECT FROM noetl.outbox AS o
        WHERE
            o.execution_id >= $1 AND o.execution_id < $2
            AND o.status IN ('PENDING', 'FAILED', 'IN_FLIGHT')
    )
    OR EXISTS (
        -- A restarted execution still reads the results of its origin.
        SELECT FROM noetl.restart AS r
        INNER JOIN noetl.execution_state AS s
            ON s.execution_id = r.execution_id
        WHERE
            r.origin_execution_id >= $1 AND r.origin_execution_id < $2
            AND (s.ended_at IS NULL OR s.ended_at > $3)
    )
    OR ($4::BOOLEAN AND EXISTS (
        SELECT FROM noetl.execution_state AS s
        WHERE
            s.execution_id >= $1 AND s.execution_id < $2
            AND s.archived_position IS DISTINCT FROM s.position
    )) AS is_needed;

-- name: delete_executions
-- Deletes a page of old executions with their rows outside the log. $1 lower and $2 upper bound,
-- $3 page size
WITH page AS MATERIALIZED (
    SELECT s.execution_id
    FROM noetl.execution_state AS s
    WHERE s.execution_id >= $1 AND s.execution_id < $2
    ORDER BY s.execution_id
    LIMIT $3
    FOR UPDATE
),

ids AS MATERIALIZED (
    SELECT coalesce(array_agg(p.execution_id), '{}') AS list FROM page AS p
),

states AS (
    DELETE FROM noetl.execution_state AS t
    WHERE t.execution_id = ANY(ARRAY(SELECT p.execution_id FROM page AS p))
),

snapshots AS (
    DELETE FROM noetl.execution_snapshot AS t
    WHERE t.execution_id = ANY(ARRAY(SELECT p.execution_id FROM page AS p))
),

timers AS (
    DELETE FROM noetl.timer AS t
    WHERE t.execution_id = ANY(ARRAY(SELECT p.execution_id FROM page AS p))
),

results AS (
    DELETE FROM noetl.result_store AS t
    WHERE t.execution_id = ANY(ARRAY(SELECT p.execution_id FROM page AS p))
),

variables AS (
    DELETE FROM noetl.transient AS t
    WHERE t.execution_id = ANY(ARRAY(SELECT p.execution_id FROM page AS p))
),

children AS (
    DELETE FROM noetl.child AS t
    WHERE t.execution_id = ANY(ARRAY(SELECT p.execution_id FROM page AS p))
),

restarts AS (
    DELETE FROM noetl.restart AS t
    WHERE t.execution_id = ANY(ARRAY(SELECT p.execution_id FROM page AS p))
),

failures AS (
    DELETE FROM noetl.failure AS t
    WHERE t.execution_id = ANY(ARRAY(SELECT p.execution_id FROM page AS p))
),

steps AS (
    DELETE FROM noetl.execution_step AS t
    WHERE t.execution_id = ANY(ARRAY(SELECT p.execution_id FROM page AS p))
),

relayed AS (
    DELETE FROM noetl.outbox AS t
    WHERE t.execution_id = ANY(ARRAY(SELECT p.execution_id FROM page AS p))
),

models AS (
    DELETE FROM noetl.execution AS t
    WHERE t.execution_id = ANY(ARRAY(SELECT p.execution_id FROM page AS p))
    RETURNING t.path, t.status, t.position
),

counters AS (
    UPDATE noetl.execution_counter AS c
    SET executions = c.executions - m.executions
    FROM (
        SELECT g.path, g.status, count(*) AS executions
        FROM models AS g
        WHERE g.position > 0
        GROUP BY g.path, g.status
    ) AS m
    WHERE c.path = m.path AND c.status = m.status
)

SELECT cardinality(i.list) AS deleted FROM ids AS i;

-- name: delete_leftovers
-- Deletes rows of a range of executions without state rows. $1 lower, $2 upper bound
WITH results AS (
    DELETE FROM noetl.result_store AS t
    WHERE t.execution_id >= $1 AND t.execution_id < $2
),

variables AS (
    DELETE FROM noetl.transient AS t
    WHERE t.execution_id >= $1 AND t.execution_id < $2
),

steps AS (
    DELETE FROM noetl.execution_step AS t
    WHERE t.execution_id >= $1 AND t.execution_id < $2
),

subscriptions AS (
    DELETE FROM noetl.subscription AS t
    WHERE t.subscription_id >= $1 AND t.subscription_id < $2
)

DELETE FROM noetl.outbox AS t
WHERE t.execution_id >= $1 AND t.execution_id < $2;

-- name: delete_commands
-- Deletes a page of commands that ended before $1. $2 page size
WITH page AS MATERIALIZED (
    SELECT c.execution_id, c.event_id
    FROM noetl.command AS c
    WHERE c.completed_at < $1
    ORDER BY c.completed_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
),

removed AS (
    DELETE FROM noetl.command AS c
    USING page AS p
    WHERE c.execution_id = p.execution_id AND c.event_id = p.event_id
    RETURNING 1
)

SELECT count(*) AS deleted FROM removed;

-- name: count_default
-- Counts rows of the default partition, up to $1.
SELECT count(*) FROM (SELECT FROM noetl.event_default LIMIT $1) AS d;
