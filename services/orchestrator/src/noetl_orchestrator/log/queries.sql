-- list: held_command
-- A command row as a sweep reads it.
SELECT
    c.execution_id, c.event_id, c.step_name AS step, c.worker_id, c.instance,
    c.attempt - 1 AS attempts, c.holds, c.claimed_at, c.started_at, c.updated_at, c.pool,
    CASE WHEN jsonb_typeof(c.meta) = 'object' THEN c.meta ELSE '{}' END AS meta, c.notifications,
    (
        SELECT s.path FROM noetl.execution_state AS s WHERE s.execution_id = c.execution_id
    ) AS path
FROM noetl.command AS c;

-- name: commit_turn
-- without: commit_steps checks posted timers keys snapshots
-- without: commit_handed checks posted timers keys snapshots starts outbox
-- Commits the decisions of one turn, all or nothing per execution (W1). It leaves out executions
-- that have moved since they were read, are locked by another replica, or hold one of the posted
-- event ids already, and starts past their deadline.
-- $1 executions that move, $2 starts, $3 executions to check only, $4 event ids from outside,
-- $5 commands, $6 changes of commands, $7 timers, $8 ids of timers done, $9 request keys,
-- $10-$12 snapshots, $13-$20 outbox rows, $21-$38 events.
-- Outbox rows and events come as arrays, which the server reads twice as fast as JSON.
-- The parts that few turns need would cost the others a third of the time, even if unused:
-- `commit_steps` and `commit_handed` leave them out.
-- Moves and starts are sorted by id, the order of locking. Look-ups are LATERAL with a LIMIT or a
-- lock, and updates compare with = ANY: for the planner this is no join by hash or merge, which on
-- small tables would read the whole index, and go on to when they have grown. For the same reason
-- a clash is the first event from an id on: in that order only one index has them.
WITH wanted AS MATERIALIZED (
    SELECT *
    FROM
        json_to_recordset($1::JSON) AS w (
            execution_id BIGINT,
            expected BIGINT,
            position BIGINT,
            status TEXT,
            ended_at TIMESTAMPTZ,
            error TEXT,
            total_steps INTEGER,
            completed_steps INTEGER,
            running_steps INTEGER,
            failed_steps INTEGER,
            soft_errors INTEGER,
            current_step TEXT,
            cause JSONB,
            soft_error JSONB,
            snapshot_position BIGINT,
            digest_position BIGINT,
            digest TEXT
        )
),

-- part: posted
clash AS MATERIALIZED (
    SELECT f.*
    FROM json_to_recordset($4::JSON) AS p (execution_id BIGINT, event_id BIGINT)
    CROSS JOIN
        LATERAL (
            SELECT
                e.execution_id,
                e.event_id,
                e.event_type,
                coalesce(e.worker_id, e.meta ->> 'worker_id') AS worker_id,
                coalesce(e.result #>> '{context,command_id}', e.meta ->> 'command_id')
                    AS command_id,
                coalesce(e.meta -> 'late', 'false') = 'true' AS late
            FROM noetl.event AS e
            WHERE e.execution_id = p.execution_id
                AND e.event_id >= p.event_id
            ORDER BY e.event_id
            LIMIT 1
        ) AS f
    WHERE f.event_id = p.event_id
),
-- end

locked AS MATERIALIZED (
    SELECT f.execution_id
    FROM wanted AS w
    CROSS JOIN
        LATERAL (
            SELECT s.execution_id
            FROM noetl.execution_state AS s
            WHERE s.execution_id = w.execution_id
                AND s.position = w.expected
            FOR UPDATE SKIP LOCKED
        ) AS f
    -- part: posted
    WHERE w.execution_id NOT IN (SELECT c.execution_id FROM clash AS c)
    -- end
),

moved AS (
    UPDATE noetl.execution_state AS s
    SET
        position = w.position,
        status = w.status,
        ended_at = coalesce(s.ended_at, w.ended_at),
        error = coalesce(s.error, w.error),
        total_steps = w.total_steps,
        completed_steps = w.completed_steps,
        running_steps = w.running_steps,
        failed_steps = w.failed_steps,
        soft_errors = w.soft_errors,
        current_step = w.current_step,
        cause = coalesce(s.cause, w.cause),
        soft_error = coalesce(s.soft_error, w.soft_error),
        snapshot_position = coalesce(w.snapshot_position, s.snapshot_position),
        digest_position = coalesce(w.digest_position, s.digest_position),
        digest = coalesce(decode(w.digest, 'hex'), s.digest),
        updated_at = clock_timestamp()
    FROM wanted AS w
    WHERE s.execution_id = ANY(ARRAY[w.execution_id])
        AND w.execution_id = ANY(ARRAY(SELECT l.execution_id FROM locked AS l))
    RETURNING s.execution_id
),

-- part: starts
begun AS (
    INSERT INTO noetl.execution_state (
        execution_id, catalog_id, path, version, parent_execution_id, status, position,
        started_at, ended_at, error, total_steps, completed_steps, running_steps, failed_steps,
        soft_errors, current_step, cause, soft_error, snapshot_position, digest_position, digest
    )
    SELECT
        n.execution_id, n.catalog_id, n.path, n.version, n.parent_execution_id, n.status,
        n.position, n.started_at, n.ended_at, n.error, n.total_steps, n.completed_steps,
        n.running_steps, n.failed_steps, n.soft_errors, n.current_step, n.cause, n.soft_error,
        coalesce(n.snapshot_position, 0), n.digest_position, decode(n.digest, 'hex')
    FROM
        json_to_recordset($2::JSON) AS n (
            execution_id BIGINT,
            catalog_id BIGINT,
            path TEXT,
            version INTEGER,
            parent_execution_id BIGINT,
            status TEXT,
            position BIGINT,
            started_at TIMESTAMPTZ,
            ended_at TIMESTAMPTZ,
            error TEXT,
            total_steps INTEGER,
            completed_steps INTEGER,
            running_steps INTEGER,
            failed_steps INTEGER,
            soft_errors INTEGER,
            current_step TEXT,
            cause JSONB,
            soft_error JSONB,
            snapshot_position BIGINT,
            digest_position BIGINT,
            digest TEXT,
            deadline TIMESTAMPTZ
        )
    WHERE n.deadline IS NULL OR n.deadline > clock_timestamp()
    ORDER BY n.execution_id
    ON CONFLICT (execution_id) DO NOTHING
    RETURNING execution_id
),
-- end

kept AS MATERIALIZED (
    SELECT execution_id FROM moved
    -- part: starts
    UNION ALL
    SELECT execution_id FROM begun
    -- end
),

-- part: checks
checked AS (
    SELECT f.execution_id
    FROM json_to_recordset($3::JSON) AS k (execution_id BIGINT, expected BIGINT)
    CROSS JOIN LATERAL (
        SELECT s.execution_id
        FROM noetl.execution_state AS s
        WHERE s.execution_id = k.execution_id
            AND s.position = k.expected
        LIMIT 1
    ) AS f
),
-- end

new_events AS (
    INSERT INTO noetl.event (
        execution_id, catalog_id, event_id, parent_event_id, parent_execution_id, created_at,
        event_type, node_id, node_name, node_type, status, context, result, meta, error,
        worker_id, position, note
    )
    SELECT
        n.execution_id, n.catalog_id, n.event_id, n.parent_event_id, n.parent_execution_id,
        n.created_at AT TIME ZONE 'UTC', n.event_type, n.node_id, n.node_name, n.node_type,
        n.status, n.context::JSONB, n.result::JSONB, n.meta::JSONB, n.error, n.worker_id,
        n.position, n.note::JSONB
    FROM
        unnest(
            $21::BIGINT[], $22::BIGINT[], $23::BIGINT[], $24::BIGINT[], $25::BIGINT[],
            $26::TIMESTAMPTZ[], $27::TEXT[], $28::TEXT[], $29::TEXT[], $30::TEXT[], $31::TEXT[],
            $32::TEXT[], $33::TEXT[], $34::TEXT[], $35::TEXT[], $36::TEXT[], $37::BIGINT[],
            $38::TEXT[]
        ) AS n (
            execution_id, catalog_id, event_id, parent_event_id, parent_execution_id,
            created_at, event_type, node_id, node_name, node_type, status,
            context, result, meta, error, worker_id, position,
            note
        )
    INNER JOIN kept AS k
        ON k.execution_id = n.execution_id
),

new_commands AS (
    INSERT INTO noetl.command (
        command_id, event_id, execution_id, catalog_id, parent_execution_id, step_name, tool_kind,
        status, worker_id, claimed_at, started_at, completed_at, attempt, iter_index, meta, error,
        latest_event_id, pool, instance, holds, lease_until, handed_for, notified_at,
        notifications
    )
    SELECT
        n.event_id, n.event_id, n.execution_id, n.catalog_id, n.parent_execution_id, n.step_name,
        n.tool_kind, n.status, n.worker_id, n.claimed_at, n.started_at, n.completed_at, n.attempt,
        n.iter_index, n.meta, n.error, n.latest_event_id, n.pool, n.instance, n.holds,
        n.lease_until, n.handed_for,
        clock_timestamp() + make_interval(secs => coalesce(n.handed_seconds, 0)),
        CASE WHEN n.handed_for IS NULL THEN 1 ELSE 0 END
    FROM
        json_to_recordset($5::JSON) AS n (
            event_id BIGINT,
            execution_id BIGINT,
            catalog_id BIGINT,
            parent_execution_id BIGINT,
            step_name TEXT,
            tool_kind TEXT,
            status TEXT,
            worker_id TEXT,
            claimed_at TIMESTAMPTZ,
            started_at TIMESTAMPTZ,
            completed_at TIMESTAMPTZ,
            attempt INTEGER,
            iter_index INTEGER,
            meta JSONB,
            error TEXT,
            latest_event_id BIGINT,
            pool TEXT,
            instance TEXT,
            holds INTEGER,
            lease_until TIMESTAMPTZ,
            handed_for BIGINT,
            handed_seconds DOUBLE PRECISION
        )
    INNER JOIN kept AS k
        ON k.execution_id = n.execution_id
),

-- part: timers
new_timers AS (
    INSERT INTO noetl.timer (timer_id, execution_id, due_at, kind, payload)
    SELECT n.timer_id, n.execution_id, n.due_at, n.kind, n.payload
    FROM
        json_to_recordset($7::JSON) AS n (
            timer_id BIGINT,
            execution_id BIGINT,
            due_at TIMESTAMPTZ,
            kind TEXT,
            payload JSONB
        )
    INNER JOIN kept AS k
        ON k.execution_id = n.execution_id
),
-- end

-- part: timers
done_timers AS (
    DELETE FROM noetl.timer AS t
    WHERE t.timer_id = ANY($8::BIGINT[])
        AND (
            t.execution_id IN (SELECT k.execution_id FROM kept AS k)
            OR t.execution_id IN (SELECT c.execution_id FROM checked AS c)
        )
),
-- end

-- part: snapshots
new_snapshots AS (
    INSERT INTO noetl.execution_snapshot (execution_id, position, format, state)
    SELECT n.execution_id, n.position, 1, n.state
    FROM unnest($10::BIGINT[], $11::BIGINT[], $12::BYTEA[]) AS n (execution_id, position, state)
    INNER JOIN kept AS k
        ON k.execution_id = n.execution_id
    ON CONFLICT (execution_id) DO UPDATE
        SET
            position = excluded.position,
            format = excluded.format,
            state = excluded.state,
            updated_at = clock_timestamp()
),
-- end

-- part: keys
new_keys AS (
    INSERT INTO noetl.request_key (scope, key, execution_id, answer)
    SELECT n.scope, n.key, n.execution_id, n.answer
    FROM
        json_to_recordset($9::JSON) AS n (
            scope TEXT,
            key TEXT,
            execution_id BIGINT,
            answer JSONB
        )
    INNER JOIN kept AS k
        ON k.execution_id = n.execution_id
    ORDER BY n.scope, n.key
),
-- end

-- part: outbox
new_outbox AS (
    INSERT INTO noetl.outbox (
        outbox_id, execution_id, event_id, kind, subject, message_id, payload
    )
    SELECT
        n.outbox_id, n.execution_id, n.event_id, n.kind, n.subject, n.message_id,
        n.payload::JSONB
    FROM
        unnest(
            $13::BIGINT[], $14::BIGINT[], $15::BIGINT[], $16::BIGINT[], $17::TEXT[], $18::TEXT[],
            $19::TEXT[], $20::TEXT[]
        ) AS n (outbox_id, owner, execution_id, event_id, kind, subject, message_id, payload)
    INNER JOIN kept AS k
        ON k.execution_id = n.owner
),
-- end

changed_commands AS (
    UPDATE noetl.command AS c
    SET
        status = n.status,
        worker_id = n.worker_id,
        instance = n.instance,
        attempt = n.attempt,
        notifications = CASE WHEN c.holds = n.holds THEN c.notifications ELSE 0 END,
        holds = n.holds,
        claimed_at = n.claimed_at,
        started_at = n.started_at,
        completed_at = n.completed_at,
        lease_until = n.lease_until,
        error = n.error,
        latest_event_id = coalesce(n.latest_event_id, c.latest_event_id),
        updated_at = clock_timestamp()
    FROM
        json_to_recordset($6::JSON) AS n (
            execution_id BIGINT,
            event_id BIGINT,
            status TEXT,
            worker_id TEXT,
            instance TEXT,
            attempt INTEGER,
            holds INTEGER,
            claimed_at TIMESTAMPTZ,
            started_at TIMESTAMPTZ,
            completed_at TIMESTAMPTZ,
            lease_until TIMESTAMPTZ,
            error TEXT,
            latest_event_id BIGINT
        )
    WHERE c.execution_id = ANY(ARRAY[n.execution_id])
        AND c.event_id = ANY(ARRAY[n.event_id])
        AND n.execution_id = ANY(ARRAY(SELECT k.execution_id FROM kept AS k))
)

SELECT
    coalesce((SELECT array_agg(k.execution_id) FROM kept AS k), '{}') AS kept,
    -- part: checks
    coalesce((SELECT array_agg(c.execution_id) FROM checked AS c), '{}') AS checked,
    -- end
    -- part: posted
    (SELECT json_agg(c) FROM clash AS c) AS clashes,
    -- end
    clock_timestamp() AS now;

-- name: load_executions
-- State rows with the newest snapshot of each.
SELECT
    s.execution_id,
    s.catalog_id,
    s.parent_execution_id,
    s.position,
    coalesce(n.position, 0) AS snapshot_position,
    n.state AS snapshot,
    s.digest_position,
    s.digest
FROM noetl.execution_state AS s
LEFT JOIN noetl.execution_snapshot AS n
    ON n.execution_id = s.execution_id
    AND n.position <= s.position
WHERE s.execution_id = ANY($1::BIGINT[]);

-- name: load_tails
-- Events of many executions: $1 execution ids, $2 positions known, $3 positions wanted.
SELECT {log_row}
FROM unnest($1::BIGINT[], $2::BIGINT[], $3::BIGINT[]) AS w (execution_id, known, wanted)
INNER JOIN noetl.event AS e
    ON e.execution_id = w.execution_id
    AND e.position > w.known
    AND e.position <= w.wanted
ORDER BY e.execution_id, e.position;

-- name: load_rows
-- Single rows of logs: $1 execution ids, $2 positions.
SELECT {log_row}
FROM unnest($1::BIGINT[], $2::BIGINT[]) AS w (execution_id, position)
INNER JOIN noetl.event AS e
    ON e.execution_id = w.execution_id
    AND e.position = w.position;

-- name: load_iterations
-- The results of a loop: $1 execution ids, $2 steps, $3 first and $4 last positions.
SELECT {log_row}
FROM
    unnest($1::BIGINT[], $2::TEXT[], $3::BIGINT[], $4::BIGINT[])
        AS w (execution_id, step, first_position, last_position)
INNER JOIN noetl.event AS e
    ON e.execution_id = w.execution_id
    AND e.position BETWEEN w.first_position AND w.last_position
WHERE e.event_type = 'call.done'
    AND e.node_name = w.step
    AND coalesce(e.meta -> 'late', 'false') != 'true'
ORDER BY e.execution_id, e.position;

-- name: check_positions
-- Executions that are still at the position of a decision that writes nothing.
-- $1 execution ids, $2 positions, $3 ids of timers done.
WITH checked AS (
    SELECT s.execution_id
    FROM unnest($1::BIGINT[], $2::BIGINT[]) AS w (execution_id, expected)
    INNER JOIN noetl.execution_state AS s
        ON s.execution_id = w.execution_id
        AND s.position = w.expected
),

done_timers AS (
    DELETE FROM noetl.timer AS t
    WHERE t.timer_id = ANY($3::BIGINT[])
        AND t.execution_id IN (SELECT c.execution_id FROM checked AS c)
)

SELECT
    coalesce((SELECT array_agg(c.execution_id) FROM checked AS c), '{}') AS checked,
    clock_timestamp() AS now;

-- name: find_request_keys
-- Keys that are held; keys past their window are deleted. $1 scopes, $2 keys, $3 windows in
-- seconds.
WITH asked AS (
    SELECT *
    FROM unnest($1::TEXT[], $2::TEXT[], $3::DOUBLE PRECISION[]) AS a (scope, key, seconds)
),

expired AS (
    DELETE FROM noetl.request_key AS r
    USING asked AS a
    WHERE r.scope = a.scope
        AND r.key = a.key
        AND r.seen_at < clock_timestamp() - make_interval(secs => a.seconds)
    RETURNING r.scope, r.key
)

SELECT r.scope, r.key, r.execution_id, r.answer
FROM asked AS a
INNER JOIN noetl.request_key AS r
    ON r.scope = a.scope
    AND r.key = a.key
WHERE NOT EXISTS (
        SELECT FROM expired AS g WHERE g.scope = r.scope AND g.key = r.key
    );

-- name: purge_request_keys
-- Deletes at most $2 keys older than $1 seconds.
DELETE FROM noetl.request_key
WHERE
    (scope, key) IN (
        SELECT r.scope, r.key
        FROM noetl.request_key AS r
        WHERE r.seen_at < clock_timestamp() - make_interval(secs => $1::DOUBLE PRECISION)
        ORDER BY r.seen_at
        LIMIT $2::INTEGER
    );

-- name: count_unended
-- Counts a turn that begins, before it may hang: $1 key of its input, $2 execution (W14).
INSERT INTO noetl.request_key AS r (scope, key, execution_id, answer)
VALUES ('unended', $1::TEXT, $2::BIGINT, '1')
ON CONFLICT (scope, key) DO UPDATE
    SET
        answer = to_jsonb((r.answer #>> '{}')::INTEGER + 1),
        seen_at = clock_timestamp()
RETURNING (answer #>> '{}')::INTEGER AS count;

-- name: forget_unended
-- Forgets the count of an input whose turn has ended.
DELETE FROM noetl.request_key
WHERE scope = 'unended'
    AND key = $1::TEXT;

-- name: join_families
-- Origin of starts that name a parent, and their count in its family, in one round trip.
-- $1 children, $2 their parents, $3 roots that other shards answered, $4 which of them count.
-- A family is counted on each shard; its row is a request key, which is purged when unused.
-- A parent that no playbook started, such as a subscription, begins no family.
WITH asked AS MATERIALIZED (
    SELECT
        a.child, a.parent, a.given_root, a.counts,
        EXISTS(
            SELECT FROM noetl.execution_state AS s WHERE s.execution_id = a.child
        ) AS is_known
    FROM
        unnest($1::BIGINT[], $2::BIGINT[], $3::BIGINT[], $4::BOOLEAN[])
            AS a (child, parent, given_root, counts)
),

origin AS MATERIALIZED (
    SELECT
        a.child, a.is_known, a.counts, e.meta -> 'trace' AS trace,
        e.meta ->> 'owner' AS owner, e.meta ->> 'namespace' AS namespace,
        coalesce((e.meta ->> 'depth')::INTEGER, 0) AS parent_depth,
        coalesce(
            a.given_root, (e.meta ->> 'root_execution_id')::BIGINT,
            CASE WHEN e.event_type = 'playbook_started' THEN a.parent END
        ) AS root
    FROM asked AS a
    LEFT JOIN noetl.event AS e
        ON e.execution_id = a.parent
        AND e.position = 1
),

counted AS (
    INSERT INTO noetl.request_key AS r (scope, key, execution_id, answer)
    SELECT 'family', o.root::TEXT, o.root, to_jsonb(count(*))
    FROM origin AS o
    WHERE o.root IS NOT NULL
        AND o.counts
        AND NOT o.is_known
    GROUP BY o.root
    ORDER BY o.root
    ON CONFLICT (scope, key) DO UPDATE
        SET
            answer = to_jsonb((r.answer #>> '{}')::BIGINT + (excluded.answer #>> '{}')::BIGINT),
            seen_at = clock_timestamp()
    RETURNING execution_id AS root, (answer #>> '{}')::BIGINT AS executions
)

SELECT
    o.child AS execution_id, o.root AS root_execution_id, o.parent_depth, o.trace, o.owner,
    o.namespace, CASE WHEN o.is_known THEN 0 ELSE coalesce(c.executions, 0) END AS executions
FROM origin AS o
LEFT JOIN counted AS c
    ON c.root = o.root;

-- name: find_running_below
-- Unfinished descendants of an ended execution, at most $2; those on other shards by their notes:
-- only their shard knows whether they have ended.
WITH RECURSIVE below AS (
    SELECT s.execution_id, s.status
    FROM noetl.execution_state AS s
    WHERE s.parent_execution_id = $1::BIGINT
    UNION
    SELECT s.execution_id, s.status
    FROM below AS b
    INNER JOIN noetl.execution_state AS s
        ON s.parent_execution_id = b.execution_id
),

noted AS (
    SELECT k.child_id
    FROM noetl.child AS k
    WHERE (
        k.execution_id = $1::BIGINT
        OR k.execution_id = ANY(ARRAY(SELECT b.execution_id FROM below AS b))
    )
    AND NOT EXISTS (
        SELECT FROM noetl.execution_state AS s WHERE s.execution_id = k.child_id
    )
)

SELECT f.execution_id
FROM (
    SELECT b.execution_id FROM below AS b WHERE b.status = 'RUNNING'
    UNION
    SELECT n.child_id FROM noted AS n
) AS f
ORDER BY f.execution_id
LIMIT $2::INTEGER;

-- name: find_children
-- Unfinished children of executions, for a cascading cancel. Children on other shards are included:
-- only their own shard knows whether they have ended.
SELECT s.parent_execution_id, s.execution_id
FROM noetl.execution_state AS s
WHERE s.parent_execution_id = ANY($1::BIGINT[])
    AND s.status = 'RUNNING'
UNION
SELECT k.execution_id, k.child_id
FROM noetl.child AS k
LEFT JOIN noetl.execution_state AS s
    ON s.execution_id = k.child_id
WHERE k.execution_id = ANY($1::BIGINT[])
    AND coalesce(s.status, 'RUNNING') = 'RUNNING'
ORDER BY 1, 2;

-- name: find_awaited
-- Unfinished children of commands: $1 executions, $2 event ids of their commands.
SELECT k.execution_id AS parent_execution_id, k.child_id AS execution_id
FROM unnest($1::BIGINT[], $2::BIGINT[]) AS w (execution_id, event_id)
INNER JOIN noetl.child AS k
    ON k.execution_id = w.execution_id
    AND k.event_id = w.event_id
LEFT JOIN noetl.execution_state AS s
    ON s.execution_id = k.child_id
WHERE coalesce(s.status, 'RUNNING') = 'RUNNING'
ORDER BY 1, 2;

-- name: add_messages
-- Inserts messages for other executions into the outbox, unless they are there already.
-- $1-$7 outbox rows.
INSERT INTO noetl.outbox (outbox_id, execution_id, event_id, kind, subject, message_id, payload)
SELECT
    n.outbox_id, n.execution_id, n.event_id, n.kind, n.subject, n.message_id, n.payload::JSONB
FROM
    unnest(
        $1::BIGINT[], $2::BIGINT[], $3::BIGINT[], $4::TEXT[], $5::TEXT[], $6::TEXT[], $7::TEXT[]
    ) AS n (outbox_id, execution_id, event_id, kind, subject, message_id, payload)
ON CONFLICT (execution_id, event_id, kind) DO NOTHING
RETURNING outbox_id;

-- name: find_open_waits
-- The commands of an execution that wait for children and have not ended.
SELECT c.event_id
FROM noetl.command AS c
INNER JOIN noetl.event AS e
    ON e.execution_id = c.execution_id
    AND e.event_id = c.event_id
WHERE c.execution_id = $1::BIGINT
    AND c.status IN ('PENDING', 'CLAIMED', 'RUNNING')
    AND e.note -> 'awaits' = 'true';

-- name: find_descendants
-- Unfinished descendants of an execution, also below finished ones, at most $2.
WITH RECURSIVE below AS (
    SELECT s.execution_id, s.status
    FROM noetl.execution_state AS s
    WHERE s.parent_execution_id = $1::BIGINT
    UNION
    SELECT s.execution_id, s.status
    FROM below AS b
    INNER JOIN noetl.execution_state AS s
        ON s.parent_execution_id = b.execution_id
)

SELECT b.execution_id
FROM below AS b
WHERE b.status = 'RUNNING'
LIMIT $2::INTEGER;

-- name: find_command_execution
-- The execution of a command, for a claim without it.
SELECT c.execution_id
FROM noetl.command AS c
WHERE c.event_id = $1::BIGINT
LIMIT 1;

-- name: fail_execution
-- Fails an execution whose message can't be stored, without the fold (W2). An execution that moves
-- while this waits for its row is left alone: the statement can't see its new commands.
-- $1 execution id, $2 event id, $3 error, $4 reason word, $5 outbox id, $6 subject,
-- $7-$13 outbox rows for the children it waits for, $14 position.
WITH target AS MATERIALIZED (
    SELECT s.execution_id, s.catalog_id, s.position, s.parent_execution_id
    FROM noetl.execution_state AS s
    WHERE s.execution_id = $1::BIGINT
        AND s.status = 'RUNNING'
        AND s.position = $14::BIGINT
    FOR UPDATE
),

moved AS (
    UPDATE noetl.execution_state AS s
    SET
        position = t.position + 1,
        status = 'FAILED',
        ended_at = clock_timestamp(),
        error = $3::TEXT,
        running_steps = 0,
        updated_at = clock_timestamp()
    FROM target AS t
    WHERE s.execution_id = t.execution_id
),

ended AS (
    INSERT INTO noetl.event (
        execution_id, catalog_id, event_id, parent_execution_id, event_type, node_id, node_name,
        status, result, meta, error, position
    )
    SELECT
        t.execution_id, t.catalog_id, $2::BIGINT, t.parent_execution_id, 'playbook.failed',
        'playbook', 'playbook', 'FAILED',
        jsonb_build_object('status', 'FAILED', 'context', jsonb_build_object('error', $3::TEXT)),
        jsonb_build_object(
            'emitted_by', 'orchestrator', 'reason', $4::TEXT, 'error', $3::TEXT
        ),
        $3::TEXT, t.position + 1
    FROM target AS t
),

cancelled AS (
    UPDATE noetl.command AS c
    SET
        status = 'CANCELLED',
        completed_at = clock_timestamp(),
        lease_until = NULL,
        updated_at = clock_timestamp()
    FROM target AS t
    WHERE c.execution_id = t.execution_id
        AND c.status IN ('PENDING', 'CLAIMED', 'RUNNING')
    RETURNING c.event_id, c.pool, c.worker_id
),

announced AS (
    INSERT INTO noetl.outbox (outbox_id, execution_id, event_id, kind, subject, message_id)
    SELECT
        $5::BIGINT, t.execution_id, $2::BIGINT, 'event', $6::TEXT,
        'e:' || t.execution_id || ':' || (t.position + 1)
    FROM target AS t
),

children AS (
    INSERT INTO noetl.outbox (
        outbox_id, execution_id, event_id, kind, subject, message_id, payload
    )
    SELECT
        n.outbox_id, n.execution_id, n.event_id, n.kind, n.subject, n.message_id,
        n.payload::JSONB
    FROM
        unnest(
            $7::BIGINT[], $8::BIGINT[], $9::BIGINT[], $10::TEXT[], $11::TEXT[], $12::TEXT[],
            $13::TEXT[]
        ) AS n (outbox_id, execution_id, event_id, kind, subject, message_id, payload)
    WHERE EXISTS (SELECT FROM target)
)

SELECT
    (SELECT min(c.pool) FROM cancelled AS c) AS pool,
    array(SELECT c.event_id FROM cancelled AS c WHERE c.worker_id IS NOT NULL) AS held
FROM target AS t;

-- name: find_next_looks
-- The database's time; when the first timer is due, and the first lease ends; since when the oldest
-- unclaimed command is there.
SELECT
    clock_timestamp() AS now,
    (SELECT min(t.due_at) FROM noetl.timer AS t) AS timer,
    (
        SELECT min(c.lease_until) FROM noetl.command AS c WHERE c.status IN ('CLAIMED', 'RUNNING')
    ) AS lease,
    (SELECT min(c.created_at) FROM noetl.command AS c WHERE c.status = 'PENDING') AS pending;

-- name: take_timers
-- Leases at most $2 due timers; they are due again in $1 seconds unless a commit deletes them.
UPDATE noetl.timer
SET due_at = clock_timestamp() + make_interval(secs => $1::DOUBLE PRECISION)
WHERE
    timer_id IN (
        SELECT t.timer_id
        FROM noetl.timer AS t
        WHERE t.due_at <= clock_timestamp()
        ORDER BY t.due_at
        LIMIT $2::INTEGER
        FOR UPDATE SKIP LOCKED
    )
RETURNING timer_id, execution_id, kind, payload;

-- name: delete_timers
-- Deletes timers without an execution.
DELETE FROM noetl.timer
WHERE timer_id = ANY($1::BIGINT[]);

-- name: take_expired_leases
-- Held commands with an expired lease; the next look is in $1 seconds. Commands of the workers
-- in $2 are due regardless of their lease, unless their notification was repeated already.
-- The latest event of a command is its `command.issued`, or the `call.done` with its result.
-- $3 most rows, $4 whether also commands without a result.
UPDATE noetl.command AS c
SET
    lease_until = clock_timestamp() + make_interval(
        secs => CASE
            -- Should its end get lost, it is soon tried again.
            WHEN c.latest_event_id != c.event_id THEN least($1::DOUBLE PRECISION, 5)
            ELSE $1::DOUBLE PRECISION
        END
    )
FROM (
    SELECT l.execution_id, l.event_id
    FROM noetl.command AS l
    WHERE l.status IN ('CLAIMED', 'RUNNING')
        AND (
            l.lease_until < clock_timestamp()
            OR (l.worker_id = ANY($2::TEXT[]) AND l.notifications = 0)
        )
        AND ($4::BOOLEAN OR l.latest_event_id != l.event_id)
    ORDER BY l.lease_until
    LIMIT $3::INTEGER
    FOR UPDATE SKIP LOCKED
) AS due
WHERE c.execution_id = due.execution_id
    AND c.event_id = due.event_id
RETURNING
    {held_command},
    coalesce(c.latest_event_id != c.event_id, FALSE) AS has_result;

-- name: take_unclaimed
-- Commands unclaimed for long, oldest first; each look doubles the pause to the next one, so that
-- the sweep does not multiply a long queue (O3). And those that were dispatched with an answer to a
-- worker that has not reported them, once it may no longer start them (W25).
-- $1 first pause, $2 longest pause in seconds, $3 most rows, $4 for how long a worker may start.
UPDATE noetl.command AS c
SET
    notified_at = clock_timestamp(),
    notifications = c.notifications + 1,
    handed_for = NULL
FROM (
    SELECT p.execution_id, p.event_id, p.handed_for IS NOT NULL AS was_handed
    FROM noetl.command AS p
    WHERE p.status = 'PENDING'
        -- The range of the index.
        AND p.created_at < clock_timestamp() - make_interval(
            secs => least($1::DOUBLE PRECISION, $4::DOUBLE PRECISION)
        )
        AND p.notified_at < clock_timestamp() - make_interval(
            secs => CASE
                WHEN p.handed_for IS NOT NULL THEN 0
                ELSE least(
                        $1::DOUBLE PRECISION
                        * power(2, least(greatest(p.notifications, 1) - 1, 20)),
                        $2::DOUBLE PRECISION
                    )
            END
        )
    ORDER BY p.notified_at
    LIMIT $3::INTEGER
    FOR UPDATE SKIP LOCKED
) AS due
WHERE c.execution_id = due.execution_id
    AND c.event_id = due.event_id
RETURNING
    {held_command},
    due.was_handed;

-- name: take_withheld
-- Unclaimed commands of paths and pools that were paused, the oldest first, each once.
-- $1 paths, $2 pools, $3 moment before which they were notified last, $4 most rows.
UPDATE noetl.command AS c
SET notified_at = clock_timestamp()
FROM (
    SELECT p.execution_id, p.event_id
    FROM noetl.command AS p
    INNER JOIN noetl.execution_state AS s
        ON s.execution_id = p.execution_id
    WHERE p.status = 'PENDING'
        AND p.notified_at < $3::TIMESTAMPTZ
        AND (
            p.pool = ANY($2::TEXT[])
            OR s.path = ANY($1::TEXT[])
            OR EXISTS (
                SELECT FROM unnest($1::TEXT[]) AS x (path) WHERE starts_with(s.path, x.path || '/')
            )
        )
    ORDER BY p.created_at
    LIMIT $4::INTEGER
    FOR UPDATE OF p SKIP LOCKED
) AS due
WHERE c.execution_id = due.execution_id
    AND c.event_id = due.event_id
RETURNING
    {held_command};

-- name: find_published
-- Stream creation time and sequence of notifications. $1 execution ids, $2 event ids.
SELECT o.execution_id, o.event_id, o.status, o.stream_created_at, o.stream_sequence
FROM unnest($1::BIGINT[], $2::BIGINT[]) AS w (execution_id, event_id)
INNER JOIN noetl.outbox AS o
    ON o.execution_id = w.execution_id
    AND o.event_id = w.event_id
    AND o.kind = 'command';

-- name: notify_again
-- Puts notifications back into the outbox, if the commands have not changed since they were read.
-- $1 rows: execution_id, event_id, holds, outbox_id, subject, message_id, payload;
-- $2 seconds to the next look at a held command, doubled each time up to $3.
WITH wanted AS MATERIALIZED (
    SELECT *
    FROM
        json_to_recordset($1::JSON) AS w (
            execution_id BIGINT,
            event_id BIGINT,
            holds INTEGER,
            outbox_id BIGINT,
            subject TEXT,
            message_id TEXT,
            payload JSONB
        )
),

still AS MATERIALIZED (
    SELECT c.execution_id, c.event_id
    FROM noetl.command AS c
    INNER JOIN wanted AS w
        ON w.execution_id = c.execution_id
        AND w.event_id = c.event_id
        AND w.holds = c.holds
    WHERE c.status IN ('PENDING', 'CLAIMED', 'RUNNING')
    FOR UPDATE OF c SKIP LOCKED
),

looked_at AS (
    UPDATE noetl.command AS c
    SET
        notified_at = clock_timestamp(),
        notifications = CASE
            WHEN c.status = 'PENDING' THEN c.notifications ELSE c.notifications + 1
        END,
        handed_for = NULL,
        lease_until = CASE
            WHEN c.status = 'PENDING' THEN NULL
            ELSE clock_timestamp() + make_interval(
                    secs => least(
                        $2::DOUBLE PRECISION * power(2, least(c.notifications, 20)),
                        $3::DOUBLE PRECISION
                    )
                )
        END
    FROM still AS s
    WHERE c.execution_id = s.execution_id
        AND c.event_id = s.event_id
),

put_back AS (
    INSERT INTO noetl.outbox (
        outbox_id, execution_id, event_id, kind, subject, message_id, payload
    )
    SELECT
        w.outbox_id, w.execution_id, w.event_id, 'command', w.subject, w.message_id, w.payload
    FROM wanted AS w
    INNER JOIN still AS s
        ON s.execution_id = w.execution_id
        AND s.event_id = w.event_id
    ON CONFLICT (execution_id, event_id, kind) DO UPDATE
        SET
            status = 'PENDING',
            message_id = excluded.message_id,
            subject = excluded.subject,
            payload = excluded.payload,
            attempts = 0,
            available_at = clock_timestamp(),
            locked_at = NULL,
            published_at = NULL,
            last_error = NULL,
            stream_created_at = NULL,
            stream_sequence = NULL,
            -- Since when it waits: how long the relay is behind is measured by it.
            created_at = clock_timestamp(),
            updated_at = clock_timestamp()
    RETURNING outbox_id, execution_id, event_id
)

SELECT p.outbox_id, p.execution_id, p.event_id
FROM put_back AS p;

-- name: read_clock
-- The database's time; also the readiness check.
SELECT clock_timestamp() AS now;

-- name: find_handed
-- Commands that were dispatched to workers with the answers to these outcomes, and not reported
-- since: one an outcome at most. They were issued after the command that it ended: for an execution
-- with many commands that leaves few. Clocks of replicas may differ by a minute.
-- $1 execution ids, $2 event ids of the commands whose outcome was answered
WITH wanted AS MATERIALIZED (
    SELECT *
    FROM unnest($1::BIGINT[], $2::BIGINT[]) AS w (execution_id, event_id)
),

handed AS MATERIALIZED (
    SELECT f.*
    FROM wanted AS w
    CROSS JOIN
        LATERAL (
            SELECT h.execution_id, h.event_id
            FROM noetl.command AS h
            WHERE h.execution_id = w.execution_id
                AND h.event_id > w.event_id - (60000::BIGINT << 22)
                AND h.handed_for = w.event_id
                AND h.status = 'PENDING'
            LIMIT 1
        ) AS f
)

SELECT {held_command}
FROM handed AS f
INNER JOIN noetl.command AS c
    ON c.execution_id = f.execution_id
    AND c.event_id = f.event_id;

-- name: find_handed_to
-- Commands dispatched to a worker process that has left or restarted; the commands whose outcomes
-- were answered name it. Only those dispatched before $3, as news of a worker may be old, and not
-- older than $4: older ones are published anyway.
-- $1 names of workers, $2 the process that has each name now, null when it has left, $3 since when,
-- $4 age in seconds
WITH recent AS MATERIALIZED (
    SELECT p.execution_id, p.event_id, p.handed_for, p.created_at
    FROM noetl.command AS p
    WHERE p.status = 'PENDING'
        AND p.created_at > clock_timestamp() - make_interval(secs => $4::DOUBLE PRECISION)
        AND p.handed_for IS NOT NULL
)

SELECT {held_command}
FROM recent AS r
INNER JOIN noetl.command AS e
    ON e.execution_id = r.execution_id
    AND e.event_id = r.handed_for
INNER JOIN unnest($1::TEXT[], $2::TEXT[], $3::TIMESTAMPTZ[]) AS w (worker_id, instance, since)
    ON w.worker_id = e.worker_id
    AND e.instance IS DISTINCT FROM w.instance
    AND r.created_at < w.since
INNER JOIN noetl.command AS c
    ON c.execution_id = r.execution_id
    AND c.event_id = r.event_id;
