"""Data for the lists: real executions, copied in SQL until there are as many as wanted.

A few playbooks run on the real system; each copy is all that the services wrote of one, shifted to
another time of the last months, under a path and a version of its own choice. So rows have the
shapes that they have in life, whatever these are.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import asyncpg
import httpx
from noetl_testkit import stack as e2e
from noetl_testkit.waiting import wait_until

PATHS = 600
VERSIONS = 3
_AT_ONCE = 20_000
_HEAD = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: %s, path: bench/%s}\nworkflow:\n"
_PLAYBOOKS = {
    "two": """
  - step: start
    tool: {kind: python, code: "result = {'n': 1}"}
    next: {arcs: [{step: end}]}
  - step: end
    tool: {kind: noop}
""",
    "one": "  - step: start\n    tool: {kind: noop}\n",
    "failed": """
  - step: start
    tool: {kind: http, method: GET, url: "http://127.0.0.1:9/x"}
""",
    "soft": """
  - step: start
    tool: {kind: python, code: "result = 1/0"}
    next: {arcs: [{step: end}]}
  - step: end
    tool: {kind: noop}
""",
    "waiting": "  - step: start\n    tool: {kind: wait, signal: go, timeout: 60d}\n",
    "sleeping": "  - step: start\n    tool: {kind: sleep, duration: 60d}\n",
    "cancelled": "  - step: start\n    tool: {kind: wait, signal: go, timeout: 60d}\n",
    "parent": "  - step: start\n    tool: {kind: playbook, path: bench/one}\n",
    "loop": """
  - step: start
    loop: {in: "{{ range(25) | list }}", iterator: x, spec: {mode: parallel, max_in_flight: 25}}
    tool: {kind: noop}
""",
}
# Thousandths of all executions.
_SHARES = {
    "two": 420, "one": 338, "failed": 80, "soft": 50, "waiting": 20, "sleeping": 5,
    "cancelled": 20, "parent": 30, "child": 30, "loop": 7,
}  # fmt: skip
_TABLES = ("execution_state", "execution", "event", "command", "timer", "failure", "result_store")
LIST_TABLES = ("execution_state", "execution", "timer", "failure")
"""Tables that lists of executions are made of."""
_CHANGED = {
    "execution_id": "c.new_id",
    "parent_execution_id": "c.parent_id",
    "catalog_id": "c.catalog_id",
    "path": "c.path",
    "version": "c.version",
    "fingerprint": "left(md5(c.path || t.fingerprint), 16)",
}
_SHIFTED = {"event_id", "command_id", "timer_id", "parent_event_id", "latest_event_id",
            "last_event_id", "prev_event_id", "result_id"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filled:
    """Names and numbers of the rows that were made.

    Attributes:
        executions: How many executions.
        events: How many events.
        path: A path with many executions.
        rare_path: One with few.
        catalog_id: A version of the first path.
        parent_id: An execution with many children.
        long_id: The execution with the longest log.
        short_id: An execution with a short one.
        schedule_id: A schedule with many times.
    """

    executions: int
    events: int
    path: str
    rare_path: str
    catalog_id: int
    parent_id: int
    long_id: int
    short_id: int
    schedule_id: int


def run_templates(client: httpx.Client) -> dict[str, int]:
    """Run each playbook once; return the executions by name, a child among them."""
    for name, steps in _PLAYBOOKS.items():
        e2e.register(client, _HEAD % (name, name) + steps.lstrip("\n"))
    ids = {name: e2e.execute(client, f"bench/{name}") for name in _PLAYBOOKS}
    open_ones = ("waiting", "sleeping", "cancelled")
    for name in open_ones:
        kind = "all" if name == "sleeping" else "wait"
        asked = f"/api/waits?execution_id={ids[name]}&kind={kind}"
        wait_until(lambda asked=asked: client.get(asked).json()["waits"], timeout_seconds=30)
    client.post(f"/api/executions/{ids['cancelled']}/cancel", json={}).raise_for_status()
    for name in _PLAYBOOKS.keys() - {"waiting", "sleeping"}:
        e2e.finish(client, ids[name])
    return ids


async def fill(
    db: asyncpg.Connection,
    other: asyncpg.Connection,
    ids: dict[str, int],
    *,
    size: int,
    tables: Sequence[str] = _TABLES,
) -> None:
    """Copy executions until there are so many, and make the other rows of lists.

    Args:
        db: A connection, as superuser.
        other: Another one.
        ids: The executions to copy; none where there are copies already.
        size: How many executions there are to be.
        tables: What is copied of each; without all of them nothing else is made.
    """
    for connection in (db, other):
        await connection.execute("SET synchronous_commit = off")
    if ids:
        await _prepare(db, ids, size=size)
    done = await db.fetchval("SELECT coalesce(max(number), 0) FROM bench.clone")
    await db.execute(_CLONES, size, PATHS, done)
    await db.execute(_PARENTS, done)
    began = time.monotonic()
    columns = {table: await _copied(db, table) for table in tables}
    ranges = iter(range(done, size, _AT_ONCE))

    async def copy(connection: asyncpg.Connection) -> None:
        for first in ranges:
            async with connection.transaction():
                for table in tables:
                    await connection.execute(columns[table], first, first + _AT_ONCE)
            if first and first % 100_000 == 0:
                print(f"{first} executions after {time.monotonic() - began:.0f} s", flush=True)

    await asyncio.gather(copy(db), copy(other))
    if not done and tables == _TABLES:
        await db.execute(_LONG_LOG, min(470, max(50, size // 2000)))
        for statement in _OTHERS:
            await db.execute(statement, size, PATHS, VERSIONS)
    for statement in _COUNTERS:
        await db.execute(statement)
    await db.execute("VACUUM ANALYZE")
    print(f"filled and analyzed after {time.monotonic() - began:.0f} s", flush=True)


async def _prepare(db: asyncpg.Connection, ids: dict[str, int], *, size: int) -> None:
    """Write down the executions to copy."""
    children = "SELECT execution_id FROM noetl.execution_state WHERE parent_execution_id = $1"
    known = {**ids, "child": await db.fetchval(children, ids["parent"])}
    for statement in _plan(size):
        await db.execute(statement)
    await db.executemany(
        "INSERT INTO bench.template VALUES ($1, $2, $3)",
        [(name, known[name], share) for name, share in _SHARES.items()],
    )


async def summary(db: asyncpg.Connection) -> Filled:
    """Return the names and numbers of the rows that were made."""
    return Filled(**dict(await db.fetchrow(_SUMMARY, PATHS)))


def _plan(size: int) -> Iterator[str]:
    yield "CREATE SCHEMA bench"
    yield "CREATE TABLE bench.template (name TEXT, execution_id BIGINT, share INTEGER)"
    yield (
        "CREATE TABLE bench.clone (number BIGINT PRIMARY KEY, name TEXT, template_id BIGINT,"
        " new_id BIGINT UNIQUE, shift BIGINT, lag INTERVAL, path TEXT, catalog_id BIGINT,"
        " version INTEGER, parent_id BIGINT)"
    )
    yield f"SELECT setseed(0.{size % 1000 + 1})"


async def _copied(db: asyncpg.Connection, table: str) -> str:
    """Return the statement that copies rows of a table for a range of copies."""
    rows = await db.fetch(
        "SELECT attname, format_type(atttypid, NULL) AS kind FROM pg_attribute WHERE attnum > 0"
        " AND NOT attisdropped AND attgenerated = ''"
        " AND attrelid = ('noetl.' || $1)::REGCLASS ORDER BY attnum",
        table,
    )
    values = {}
    for name, kind in rows:
        if name in _CHANGED:
            values[name] = _CHANGED[name]
        elif name in _SHIFTED:
            values[name] = f"t.{name} + c.shift"
        # What is due must not come due.
        elif kind.startswith("timestamp") and name not in {"due_at", "lease_until"}:
            values[name] = f"t.{name} + c.lag"
        else:
            values[name] = f"t.{name}"
    return (
        f"INSERT INTO noetl.{table} ({', '.join(values)}) SELECT {', '.join(values.values())}"
        f" FROM bench.clone AS c INNER JOIN noetl.{table} AS t ON t.execution_id = c.template_id"
        " WHERE c.number > $1 AND c.number <= $2 ON CONFLICT DO NOTHING"
    )


# Times over the last 250 days; few paths have most of the executions; children of one parent are
# many, of the others a few.
_CLONES = """
WITH ranged AS (
    SELECT
        t.*, sum(t.share) OVER w - t.share AS low, sum(t.share) OVER w AS high
    FROM bench.template AS t
    WINDOW w AS (ORDER BY t.name)
),

drawn AS (
    SELECT
        i AS number, 1000 * random() AS drawn,
        (extract(EPOCH FROM now()) * 1000 - 250 * 86400000.0 * random())::BIGINT - 1704067200000
            AS ms,
        floor($2 * random() ^ 3)::INTEGER AS place, 1 + floor(3 * random())::INTEGER AS version
    FROM generate_series($3::BIGINT + 1, $1::BIGINT) AS i
)

INSERT INTO bench.clone
SELECT
    d.number, r.name, r.execution_id, (d.ms << 22) + d.number,
    (d.ms << 22) + d.number - r.execution_id,
    make_interval(secs => (d.ms - (r.execution_id >> 22)) / 1000.0),
    'team' || d.place % 12 || '/flows/flow_' || d.place, 7000000 + d.place * 10 + d.version,
    d.version,
    CASE WHEN r.name = 'child' THEN
        CASE WHEN d.number % 2 = 0 THEN 1 ELSE 2 + d.number % 1000 END
    END
FROM drawn AS d
INNER JOIN ranged AS r
    ON r.low <= d.drawn AND d.drawn < r.high
"""

# One parent has half of the children, the others share the rest.
_PARENTS = """
WITH parents AS (
    SELECT c.new_id, row_number() OVER (ORDER BY c.number) AS place
    FROM bench.clone AS c
    WHERE c.name = 'parent'
)

UPDATE bench.clone AS c
SET parent_id = p.new_id
FROM parents AS p
WHERE
    c.number > $1
    AND p.place = 1 + (c.parent_id - 1) % (SELECT max(q.place) FROM parents AS q)
"""

# The events of a loop once more behind the ones before, many times.
_LONG_LOG = """
WITH chosen AS MATERIALIZED (
    SELECT s.execution_id, s.position
    FROM noetl.execution_state AS s
    INNER JOIN bench.clone AS c ON c.new_id = s.execution_id
    WHERE c.name = 'loop'
    ORDER BY s.started_at DESC
    LIMIT 1
),

moved AS (
    UPDATE noetl.execution_state AS s
    SET position = s.position * ($1 + 1)
    FROM chosen AS l
    WHERE s.execution_id = l.execution_id
),

shown AS (
    UPDATE noetl.execution AS s
    SET position = s.position * ($1 + 1)
    FROM chosen AS l
    WHERE s.execution_id = l.execution_id
)

INSERT INTO noetl.event (
    execution_id, catalog_id, event_id, created_at, event_type, node_id, node_name, node_type,
    status, context, result, meta, worker_id, note, position
)
SELECT
    e.execution_id, e.catalog_id, e.event_id + (k << 40), e.created_at, e.event_type, e.node_id,
    e.node_name, e.node_type, e.status, e.context, e.result, e.meta, e.worker_id, e.note,
    e.position + k * l.position
FROM chosen AS l
INNER JOIN noetl.event AS e ON e.execution_id = l.execution_id
CROSS JOIN generate_series(1::BIGINT, $1::BIGINT) AS k
ORDER BY k, e.position
"""

_OTHERS = (
    """
    INSERT INTO noetl.catalog (catalog_id, path, version, kind, content, payload, meta, created_at)
    SELECT
        7000000 + p * 10 + v, 'team' || p % 12 || '/flows/flow_' || p, v, c.kind, c.content,
        c.payload, c.meta, now() - make_interval(hours => p * 7 + v)
    FROM generate_series(0, $2 - 1) AS p
    CROSS JOIN generate_series(1, $3) AS v
    CROSS JOIN (SELECT * FROM noetl.catalog WHERE path = 'bench/two') AS c
    WHERE $1::BIGINT > 0
    """,
    """
    INSERT INTO noetl.schedule (
        schedule_id, path, catalog_id, version, spec, registered_at, next_at
    )
    SELECT
        n, 'team' || n % 12 || '/nightly_' || n, n, 1,
        '{"playbook": "bench/one", "cron": "0 3 * * *"}', now(), now()
    FROM generate_series(1, 1000) AS n
    WHERE $1::BIGINT + $2::BIGINT + $3::BIGINT > 0
    """,
    """
    INSERT INTO noetl.schedule_firing (
        schedule_id, scheduled_at, state, execution_id, origin, due_at, decided_at, started_at,
        outcome
    )
    SELECT
        1 + n % least(n, 1000), m, CASE WHEN n % 997 = 0 THEN 'missed' ELSE 'started' END, n,
        'clock', m, m, m, 'COMPLETED'
    FROM generate_series(1, greatest($1::BIGINT / 10, 2000)) AS n
    CROSS JOIN LATERAL (SELECT now() - make_interval(mins => n::INTEGER) AS m) AS t
    WHERE $2::BIGINT + $3::BIGINT > 0
    """,
    """
    INSERT INTO noetl.schedule_firing (
        schedule_id, scheduled_at, state, execution_id, origin, due_at, decided_at, started_at,
        outcome
    )
    SELECT
        1, m, CASE WHEN n % 9973 = 0 THEN 'missed' ELSE 'started' END, n,
        'clock', m, m, m, 'COMPLETED'
    FROM generate_series(1, greatest($1::BIGINT / 10, 2000)) AS n
    CROSS JOIN LATERAL (SELECT now() - make_interval(secs => 30 + 60 * n::INTEGER) AS m) AS t
    WHERE $2::BIGINT + $3::BIGINT > 0
    """,
    """
    INSERT INTO noetl.runtime (runtime_id, name, kind, uri, status, runtime)
    SELECT n, 'worker-' || n, 'worker_pool', 'http://10.0.0.1', 'ready', '{"instance": "x"}'
    FROM generate_series(1, 2000) AS n
    WHERE $1::BIGINT + $2::BIGINT + $3::BIGINT > 0
    """,
    """
    INSERT INTO noetl.credential (id, name, type, data_encrypted, description, created_at)
    SELECT
        n, 'credential_' || n, CASE WHEN n % 50 = 0 THEN 's3' ELSE 'postgres' END, '{}',
        'of a team', now() - make_interval(mins => n)
    FROM generate_series(1, 2000) AS n
    WHERE $1::BIGINT + $2::BIGINT + $3::BIGINT > 0
    """,
    """
    INSERT INTO noetl.access_audit (
        record_id, occurred_at, principal, kind, address, access_right, method, route, object,
        outcome, request_id
    )
    SELECT
        'r' || n, now() - make_interval(secs => 20 * n), 'p' || floor(300 * random() ^ 3), 'key',
        '10.0.0.1', CASE WHEN n % 5000 = 7 THEN 'keys.change' ELSE 'executions.read' END, 'GET',
        '/api/executions/{execution_id:str}', (SELECT c.new_id::TEXT FROM bench.clone AS c
        WHERE c.number = n), CASE WHEN n % 3000 = 5 THEN 'forbidden' ELSE 'allowed' END, 'q' || n
    FROM generate_series(1, $1::BIGINT / 2) AS n
    WHERE $2::BIGINT + $3::BIGINT > 0
    """,
    """
    INSERT INTO noetl.secret_audit (
        audit_id, occurred_at, credential, operation, outcome, execution_id
    )
    SELECT
        n, now() - make_interval(secs => 20 * n), 'credential_' || floor(2000 * random() ^ 3),
        'read', 'ok', (SELECT c.new_id FROM bench.clone AS c WHERE c.number = n)
    FROM generate_series(1, $1::BIGINT / 4) AS n
    WHERE $2::BIGINT + $3::BIGINT > 0
    """,
    """
    INSERT INTO noetl.result_store (
        result_id, execution_id, name, scope, source_step, data, bytes, sha256
    )
    SELECT c.new_id, c.new_id, 'start', 'execution', 'start', '{"n": 1}', 8, 'x'
    FROM bench.clone AS c
    WHERE c.number % 20 = 0 AND $1::BIGINT + $2::BIGINT + $3::BIGINT > 0
    """,
    """
    INSERT INTO noetl.keychain (
        cache_key, keychain_name, catalog_id, credential_type, cache_type, scope_type,
        data_encrypted, expires_at, created_at
    )
    SELECT
        'k' || n, 'token_' || n, 7000001, 'secret', 'secret', 'global', '{}',
        now() + INTERVAL '1 day', now() - make_interval(mins => n)
    FROM generate_series(1, 1000) AS n
    WHERE $1::BIGINT + $2::BIGINT + $3::BIGINT > 0
    """,
)

_COUNTERS = (
    "DELETE FROM noetl.execution_day",
    "DELETE FROM noetl.execution_counter",
    """
    INSERT INTO noetl.execution_day (day, executions)
    SELECT (e.start_time AT TIME ZONE 'UTC')::DATE, count(*) FROM noetl.execution AS e GROUP BY 1
    """,
    """
    INSERT INTO noetl.execution_counter (path, status, executions)
    SELECT e.path, e.status, count(*) FROM noetl.execution AS e GROUP BY e.path, e.status
    """,
)

_SUMMARY = """
SELECT
    (SELECT count(*) FROM noetl.execution_state) AS executions,
    (SELECT count(*) FROM noetl.event) AS events,
    'flow_0' AS path,
    'flow_' || $1::INTEGER - 1 AS rare_path,
    7000001 AS catalog_id,
    (
        SELECT s.parent_execution_id FROM noetl.execution_state AS s
        WHERE s.parent_execution_id IS NOT NULL
        GROUP BY 1 ORDER BY count(*) DESC LIMIT 1
    ) AS parent_id,
    (SELECT s.execution_id FROM noetl.execution_state AS s ORDER BY s.position DESC LIMIT 1)
        AS long_id,
    (SELECT c.new_id FROM bench.clone AS c WHERE c.name = 'two' LIMIT 1) AS short_id,
    1::BIGINT AS schedule_id
"""
