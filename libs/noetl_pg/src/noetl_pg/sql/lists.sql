-- Columns of a log row `e`, for the statements of all services.

-- list: log_row
-- The fields of `EventRow`.
SELECT
    e.execution_id, e.position, e.event_id, e.event_type,
    e.created_at AT TIME ZONE 'UTC' AS created_at, e.catalog_id, e.node_id, e.node_name,
    e.node_type, e.status, e.parent_event_id, e.parent_execution_id, e.context, e.result, e.meta,
    e.error, e.worker_id, e.note
FROM noetl.event AS e;

-- list: published_log_row
-- The part of a log row that is published. A context may be large, so only commands include it.
SELECT
    e.position, e.event_type, e.created_at AT TIME ZONE 'UTC' AS created_at, e.catalog_id,
    e.node_id, e.node_name, e.node_type, e.status, e.parent_event_id, e.parent_execution_id,
    CASE WHEN e.event_type = 'command.issued' THEN e.context END AS context,
    e.result, e.meta, e.error, e.worker_id
FROM noetl.event AS e;

-- The read model of steps (`noetl.execution_step`) in parts: the data of a step in a log row, the
-- same as an item, a row of the model as an item, and the fold of items. Folding rows of the model
-- together with later log rows yields rows of the model again, so a log can be cut anywhere.

-- list: step_row
-- The data of a step in a log row `e`. Rows that decide nothing only affect the order of ends.
SELECT
    e.execution_id,
    CASE
        WHEN e.event_type IN ('playbook.failed', 'playbook_failed', 'workflow.failed')
            THEN e.meta #>> '{cause,step}'
        ELSE e.node_name
    END AS step,
    e.position,
    e.ingest_time AS at,
    CASE
        WHEN e.note ? 'inert' THEN 'inert'
        WHEN e.event_type = 'command.issued' THEN 'issue'
        WHEN e.event_type = 'command.completed' AND e.note ? 'parked' THEN 'park'
        WHEN e.event_type IN ('command.completed', 'command.failed') THEN 'end'
        WHEN e.event_type = 'step.enter' THEN 'enter'
        WHEN e.event_type IN ('command.claimed', 'command.started') THEN 'heard'
        WHEN e.event_type = 'step.skipped' THEN 'skip'
        WHEN e.event_type = 'step.exit' THEN 'exit'
        WHEN e.event_type = 'wait.started' THEN 'wait'
        WHEN e.event_type = 'call.done' AND e.note ->> 'callback' = 'ends' THEN 'end'
        WHEN e.event_type = 'call.done' THEN 'call'
        ELSE 'undecided'
    END AS kind,
    CASE
        WHEN e.event_type IN ('command.completed', 'step.exit') THEN e.position
        ELSE 0
    END AS ended_position,
    CASE
        WHEN e.event_type IN ('command.issued', 'wait.started') THEN e.meta ? 'iteration_index'
        WHEN e.event_type IN ('command.completed', 'command.failed')
            THEN
                coalesce(e.result #>> '{context,command_id}', e.meta ->> 'command_id')
                ~ ':i[0-9]+$'
    END AS is_iteration,
    e.event_type = 'command.failed' OR coalesce(e.note ? 'fails', FALSE) AS is_failure,
    CASE
        WHEN
            e.event_type = 'step.enter'
            AND jsonb_typeof(e.result #> '{context,iterations_expected}') = 'number'
            THEN least((e.result #>> '{context,iterations_expected}')::NUMERIC, 2147483647)::INTEGER
    END AS total,
    e.event_type = 'step.enter'
    AND coalesce(e.result #> '{context,__cursor_loop}' = 'true', FALSE) AS is_cursor,
    CASE
        WHEN e.event_type = 'command.claimed'
            THEN coalesce((e.note ->> 'attempts')::INTEGER, 0) + 1
        WHEN e.event_type IN ('command.started', 'command.completed', 'command.failed') THEN 1
        ELSE 0
    END AS attempts,
    CASE
        WHEN e.event_type = 'command.failed' OR e.note ? 'fails'
            THEN
                coalesce(
                    e.result #>> '{context,error}', e.error,
                    'status ''' || coalesce(e.status, '') || ''''
                )
        WHEN e.event_type IN ('playbook.failed', 'playbook_failed', 'workflow.failed')
            THEN coalesce(e.meta #>> '{cause,message}', e.error)
    END AS error,
    CASE
        WHEN e.event_type IN ('command.claimed', 'command.completed', 'command.failed')
            THEN nullif(left(coalesce(e.worker_id, e.meta ->> 'worker_id'), 200), '')
        WHEN e.event_type = 'command.started' THEN left(e.meta ->> 'worker_id', 200)
    END AS worker_id
FROM noetl.event AS e;

-- list: step_item
-- The same row `r` as an item. The end of a cursor loop's claim is not the end of an iteration; a
-- row without a command id may be either.
SELECT
    r.execution_id, r.step, r.position, r.position AS first_position, r.ended_position,
    r.kind IN ('issue', 'wait') AS is_issue,
    CASE r.kind WHEN 'enter' THEN 1 ELSE 0 END AS runs,
    CASE WHEN r.kind IN ('enter', 'issue', 'wait') THEN r.at END AS first_started_at,
    CASE WHEN r.kind IN ('enter', 'issue', 'wait') THEN r.at END AS started_at,
    CASE WHEN r.kind IN ('end', 'exit', 'skip', 'undecided') THEN r.at END AS ended_at,
    CASE
        WHEN r.kind = 'enter' OR (r.kind = 'issue' AND NOT r.is_iteration) THEN 'began'
        WHEN r.kind = 'end' AND r.is_iteration IS NOT TRUE AND r.is_failure THEN 'failed'
        WHEN r.kind = 'end' AND r.is_iteration IS NOT TRUE THEN 'ended'
        WHEN r.kind = 'wait' AND NOT r.is_iteration THEN 'waits'
        WHEN r.kind = 'skip' THEN 'skipped'
        WHEN r.kind = 'exit' THEN 'left'
    END AS phase,
    CASE WHEN r.kind IN ('issue', 'wait') THEN 1 WHEN r.kind = 'end' THEN -1 ELSE 0 END AS open,
    CASE r.kind WHEN 'inert' THEN 0 ELSE r.attempts END AS attempts,
    CASE r.kind WHEN 'enter' THEN r.total END AS total,
    r.kind = 'enter' AND r.is_cursor AS is_cursor,
    CASE
        WHEN r.kind = 'end' AND r.is_iteration IS NOT FALSE AND NOT r.is_failure THEN 1
        ELSE 0
    END AS done,
    CASE
        WHEN r.kind = 'end' AND r.is_iteration IS NOT FALSE AND r.is_failure THEN 1
        ELSE 0
    END AS failed,
    r.kind = 'undecided' AS undecided,
    CASE
        WHEN r.kind IN ('end', 'undecided')
            THEN left(split_part(btrim(r.error, E' \n\r\t'), E'\n', 1), 300)
    END AS error,
    CASE WHEN r.kind != 'inert' THEN r.worker_id END AS worker_id
FROM noetl.event AS r;

-- list: step_kept
-- A row `k` of the model as an item, before all positions.
SELECT
    k.execution_id, k.step, 0::BIGINT AS position, k.first_position, k.ended_position,
    FALSE AS is_issue,
    k.runs, k.first_started_at, k.started_at, k.ended_at, k.phase, k.open, k.attempts, k.total,
    k.is_cursor, k.done, k.failed, k.undecided, k.error, k.worker_id
FROM noetl.execution_step AS k;

-- list: step_marked
-- An item `i` with the position at which the newest visit of its step began: where the step was
-- entered or, for a plain start, where its first command was issued.
SELECT
    i.execution_id, i.step, i.position, i.first_position, i.ended_position, i.is_issue, i.runs,
    i.first_started_at, i.started_at, i.ended_at, i.phase, i.open, i.attempts, i.total,
    i.is_cursor, i.done, i.failed, i.undecided, i.error, i.worker_id,
    coalesce(
        max(i.position) FILTER (WHERE i.runs > 0) OVER (PARTITION BY i.execution_id, i.step),
        min(i.position) FILTER (WHERE i.is_issue) OVER (PARTITION BY i.execution_id, i.step),
        0
    ) AS begun_at
FROM noetl.execution_step AS i;

-- list: step_fold
-- The fold of the items `m` of a step, grouped by execution and step. The first or last text is the
-- minimum or maximum of pairs with positions, which costs less than sorting the rows of a loop.
SELECT
    m.execution_id, m.step,
    min(m.first_position) AS first_position,
    max(m.position) AS position,
    max(m.ended_position) AS ended_position,
    sum(m.runs)::INTEGER + CASE
        WHEN
            min(m.position) FILTER (WHERE m.is_issue)
            < coalesce(min(m.position) FILTER (WHERE m.runs > 0), 9223372036854775807)
            THEN 1
        ELSE 0
    END AS runs,
    min(m.first_started_at) AS first_started_at,
    min(m.started_at) FILTER (WHERE m.position >= m.begun_at) AS started_at,
    max(m.ended_at) FILTER (WHERE m.position >= m.begun_at) AS ended_at,
    (max(ARRAY[lpad(m.position::TEXT, 19, '0'), m.phase]) FILTER (
        WHERE m.phase IS NOT NULL AND m.position >= m.begun_at
    ))[2] AS phase,
    coalesce(sum(m.open) FILTER (WHERE m.position >= m.begun_at), 0)::INTEGER AS open,
    coalesce(max(m.attempts) FILTER (WHERE m.position >= m.begun_at), 0) AS attempts,
    max(m.total) FILTER (WHERE m.position >= m.begun_at) AS total,
    coalesce(bool_or(m.is_cursor) FILTER (WHERE m.position >= m.begun_at), FALSE) AS is_cursor,
    coalesce(sum(m.done) FILTER (WHERE m.position >= m.begun_at), 0)::INTEGER AS done,
    coalesce(sum(m.failed) FILTER (WHERE m.position >= m.begun_at), 0)::INTEGER AS failed,
    coalesce(bool_or(m.undecided) FILTER (WHERE m.position >= m.begun_at), FALSE) AS undecided,
    (min(ARRAY[lpad(m.position::TEXT, 19, '0'), m.error]) FILTER (
        WHERE m.error IS NOT NULL AND m.position >= m.begun_at
    ))[2] AS error,
    (max(ARRAY[lpad(m.position::TEXT, 19, '0'), m.worker_id]) FILTER (
        WHERE m.worker_id IS NOT NULL AND m.position >= m.begun_at
    ))[2] AS worker_id
FROM noetl.execution_step AS m;

-- list: step_column
-- The columns of a row `f` of the model.
SELECT
    f.execution_id, f.step, f.first_position, f.position, f.ended_position, f.runs,
    f.first_started_at, f.started_at, f.ended_at, f.phase, f.open, f.attempts, f.total,
    f.is_cursor, f.done, f.failed, f.undecided, f.error, f.worker_id
FROM noetl.execution_step AS f;
