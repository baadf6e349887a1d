"""Long lists of the catalog service are read from indexes."""

from noetl_pg.pool import Pool
from noetl_pg.sql.queries import Queries

_AUDIT = "'p', 'r', 'o', 'x', NULL, now(), 100"
PLANS = [
    ("access", "list_records", _AUDIT, "access_audit_time"),
    ("access", "list_records_of_object", _AUDIT, "access_audit_object"),
    ("access", "list_records_of_principal", _AUDIT, "access_audit_principal"),
    ("access", "list_records_of_right", _AUDIT, "access_audit_right"),
    ("access", "list_records_of_outcome", _AUDIT, "access_audit_outcome"),
    ("secrets", "list_audit", "'c', 5, NULL, now(), 100", "secret_audit_time"),
    ("secrets", "list_audit_of_execution", "'c', 5, NULL, now(), 100", "secret_audit_execution"),
    ("secrets", "list_audit_of_credential", "'c', 5, NULL, now(), 100", "secret_audit_credential"),
    ("schedules", "list_firings", "5, now(), 100", "schedule_firing_pkey"),
    ("schedules", "list_firings_in", "5, now(), 100, 'missed'", "schedule_firing_state"),
]


_ROWS = (
    """
    INSERT INTO noetl.access_audit (
        record_id, occurred_at, principal, kind, address, access_right, method, route, object,
        outcome, request_id
    )
    SELECT
        n, now() - make_interval(secs => n), 'p' || n % 50, 'key', '', 'r' || n % 50, '', '',
        'o' || n, 'o' || n % 50, ''
    FROM generate_series(1, 2000) AS n
    """,
    """
    INSERT INTO noetl.secret_audit (audit_id, occurred_at, credential, operation, outcome,
        execution_id)
    SELECT n, now() - make_interval(secs => n), 'c' || n % 50, '', '', n
    FROM generate_series(1, 2000) AS n
    """,
    """
    INSERT INTO noetl.schedule (schedule_id, path, catalog_id, version, spec, registered_at)
    VALUES (5, 'x', 1, 1, '{}', now())
    """,
    """
    INSERT INTO noetl.schedule_firing (
        schedule_id, scheduled_at, state, origin, due_at, decided_at
    )
    SELECT
        5, now() - make_interval(secs => n), CASE n % 50 WHEN 0 THEN 'missed' ELSE 'started' END,
        'clock', now(), now()
    FROM generate_series(1, 2000) AS n
    """,
)


async def test_f9_each_filter_has_a_plan_that_reads_its_own_index(pool: Pool) -> None:
    """One plan for all values."""
    async with pool.acquire() as connection, connection.transaction():
        for statement in _ROWS:
            await connection.execute(statement)
        await connection.execute(
            "ANALYZE noetl.access_audit, noetl.secret_audit, noetl.schedule_firing"
        )
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        for package, statement, arguments, index in PLANS:
            text = Queries.load(f"noetl_catalog.{package}")[statement]
            await connection.execute(f"PREPARE list AS {text}")
            rows = await connection.fetch(f"EXPLAIN EXECUTE list ({arguments})")
            await connection.execute("DEALLOCATE list")
            plan = "\n".join(row[0] for row in rows)
            assert index in plan, f"{statement}: {plan}"
            assert "Seq Scan" not in plan, f"{statement}: {plan}"
