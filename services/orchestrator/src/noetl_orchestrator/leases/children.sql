-- Child executions of commands, on the shard of the parent (L6).

-- name: reserve_child
-- The child of a start by a command. The k-th start of a run finds the k-th child of the run before
-- with the same path and payload; otherwise the offered id becomes a new child, unless a restarted
-- execution finds one of its origin.
-- $1 execution, $2 event id of the command, $3 path, $4 digest of the payload, $5 offered id.
-- $6 those of other shards that have completed; NULL when that is not known yet.
-- child_id is NULL for an ended command, if another start took the found child meanwhile, and while
-- there are unknown ones: children on other shards that may have completed.
WITH command AS MATERIALIZED (
    SELECT
        -- On the fast path a run may call before its start is in the log.
        greatest(c.holds, 1) AS run,
        c.status IN ('PENDING', 'CLAIMED', 'RUNNING') AS is_open,
        c.step_name,
        c.iter_index
    FROM noetl.command AS c
    WHERE c.execution_id = $1::BIGINT
        AND c.event_id = $2::BIGINT
    -- This statement and the commit of an end wait for each other, so a look for children after the
    -- end finds them all.
    FOR SHARE
),

known AS MATERIALIZED (
    SELECT k.child_id
    FROM noetl.child AS k
    CROSS JOIN command AS c
    WHERE k.execution_id = $1::BIGINT
        AND k.event_id = $2::BIGINT
        AND k.path = $3::TEXT
        AND k.payload_digest = $4::TEXT
        AND k.run < c.run
        AND c.is_open
    ORDER BY k.child_id
    LIMIT 1
),

found AS (
    UPDATE noetl.child AS k
    SET run = c.run
    FROM command AS c
    WHERE k.execution_id = $1::BIGINT
        AND k.event_id = $2::BIGINT
        AND k.child_id = (SELECT n.child_id FROM known AS n)
        AND k.run < c.run
    RETURNING k.child_id
),

of_origin AS MATERIALIZED (
    -- After a restart: children that completed, of a command that then did not. Of those on other
    -- shards the caller has to find out.
    SELECT k.child_id, s.execution_id IS NULL AS is_far
    FROM command AS c
    INNER JOIN noetl.restart AS r
        ON r.execution_id = $1::BIGINT
    INNER JOIN noetl.command AS o
        ON o.execution_id = r.origin_execution_id
        AND o.step_name = c.step_name
        AND o.iter_index IS NOT DISTINCT FROM c.iter_index
        AND o.status != 'COMPLETED'
    INNER JOIN noetl.child AS k
        ON k.execution_id = o.execution_id
        AND k.event_id = o.event_id
        AND k.path = $3::TEXT
        AND k.payload_digest = $4::TEXT
    LEFT JOIN noetl.execution_state AS s
        ON s.execution_id = k.child_id
    WHERE
        c.is_open
        AND NOT EXISTS (SELECT FROM known)
        AND (
            s.status = 'COMPLETED'
            OR (s.execution_id IS NULL AND coalesce(k.child_id = ANY($6::BIGINT[]), TRUE))
        )
        AND NOT EXISTS (
            SELECT FROM noetl.child AS t
            WHERE t.execution_id = $1::BIGINT AND t.child_id = k.child_id
        )
    ORDER BY k.child_id DESC
    LIMIT 20
),

unknown AS (
    SELECT f.child_id FROM of_origin AS f
    WHERE f.is_far AND $6::BIGINT[] IS NULL
),

added AS (
    INSERT INTO noetl.child (execution_id, event_id, child_id, path, payload_digest, run)
    SELECT
        $1::BIGINT, $2::BIGINT, coalesce((SELECT max(f.child_id) FROM of_origin AS f), $5::BIGINT),
        $3::TEXT, $4::TEXT, c.run
    FROM command AS c
    WHERE c.is_open
        AND NOT EXISTS (SELECT FROM known)
        AND NOT EXISTS (SELECT FROM unknown)
    ON CONFLICT (execution_id, event_id, child_id) DO UPDATE SET run = excluded.run
    RETURNING child_id
)

SELECT
    c.is_open,
    coalesce((SELECT child_id FROM found), (SELECT child_id FROM added)) AS child_id,
    array(SELECT child_id FROM unknown) AS unknown
FROM command AS c;

-- name: note_child
-- Notes a child on another shard that no known command started. $1 parent, $2 child, $3 path
INSERT INTO noetl.child (execution_id, event_id, child_id, path, payload_digest, run)
SELECT s.execution_id, 0, $2::BIGINT, $3::TEXT, '', 0
FROM noetl.execution_state AS s
WHERE s.execution_id = $1::BIGINT
ON CONFLICT (execution_id, event_id, child_id) DO NOTHING;

-- name: find_origin
-- The fields that a child inherits from its parent's start.
SELECT
    e.meta -> 'trace' AS trace,
    e.meta ->> 'owner' AS owner,
    e.meta ->> 'namespace' AS namespace,
    CASE
        WHEN e.event_type = 'playbook_started'
            THEN coalesce((e.meta ->> 'root_execution_id')::BIGINT, e.execution_id)
    END AS root_execution_id,
    CASE
        WHEN e.event_type = 'playbook_started'
            THEN coalesce((e.meta ->> 'depth')::INTEGER, 0) + 1
        ELSE 0
    END AS depth
FROM noetl.event AS e
WHERE e.execution_id = $1::BIGINT
    AND e.position = 1;
