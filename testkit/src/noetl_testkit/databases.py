"""Databases that tests use one after the other, emptied in between.

To copy a migrated database costs more than most tests: hundreds of small files. To empty one
costs a statement.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from noetl_testkit.postgres import Database, PostgresServer

_KEPT = 4
_FIRST_OWN_OID = 16384

_TABLES = """
SELECT c.oid::REGCLASS
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""

# Row versions show every change by DDL. Not so in pg_class and pg_index, which TRUNCATE and
# ANALYZE write too.
_DEFINITIONS = f"""
SELECT concat_ws(' ', 'class', oid, relname, relkind, relowner, relacl, reloptions, relrowsecurity)
FROM pg_class
WHERE oid >= {_FIRST_OWN_OID}
UNION ALL
SELECT concat_ws(' ', 'index', indexrelid, indisvalid, indisunique)
FROM pg_index
WHERE indexrelid >= {_FIRST_OWN_OID}
UNION ALL
SELECT concat_ws(' ', 'column', attrelid, attnum, xmin)
FROM pg_attribute
WHERE attrelid >= {_FIRST_OWN_OID}
UNION ALL
SELECT concat_ws(' ', 'schema', nspname, xmin) FROM pg_namespace WHERE nspname !~ '^pg_'
UNION ALL
SELECT concat_ws(' ', 'function', oid, xmin) FROM pg_proc WHERE oid >= {_FIRST_OWN_OID}
UNION ALL
SELECT concat_ws(' ', 'constraint', oid, xmin) FROM pg_constraint WHERE oid >= {_FIRST_OWN_OID}
UNION ALL
SELECT concat_ws(' ', 'trigger', oid, xmin) FROM pg_trigger
UNION ALL
SELECT concat_ws(' ', 'rule', oid, xmin) FROM pg_rewrite WHERE oid >= {_FIRST_OWN_OID}
UNION ALL
SELECT concat_ws(' ', 'type', oid, xmin) FROM pg_type WHERE oid >= {_FIRST_OWN_OID}
UNION ALL
SELECT concat_ws(' ', 'partition', inhrelid, xmin) FROM pg_inherits
UNION ALL
SELECT concat_ws(' ', 'policy', oid, xmin) FROM pg_policy
UNION ALL
SELECT concat_ws(' ', 'extension', extname, extversion) FROM pg_extension
UNION ALL
SELECT concat_ws(' ', 'rights', oid, xmin) FROM pg_default_acl
UNION ALL
SELECT concat_ws(' ', 'settings', s.setrole, s.setconfig)
FROM pg_db_role_setting AS s
INNER JOIN pg_database AS d ON s.setdatabase = d.oid
WHERE d.datname = current_database()
UNION ALL
SELECT concat_ws(' ', 'database', datacl, datallowconn, datconnlimit)
FROM pg_database
WHERE datname = current_database()
"""


class UsedDatabases:
    """Copies of one migrated database, each used by one test at a time."""

    def __init__(self, server: PostgresServer, template: str) -> None:
        self._server = server
        self._template = template
        self._free: list[Database] = []
        known = server.at(template)
        filled = [t for t in known.run(_TABLES).splitlines() if known.run(f"TABLE {t} LIMIT 1")]
        self._filled = filled
        self._digest = known.run(self._digest_sql())

    @contextmanager
    def lent(self) -> Iterator[Database]:
        """Give a database that is as a new one; during the block no other caller gets it."""
        database = self._reused() or self._server.create(self._template)
        try:
            yield database
        finally:
            if len(self._free) < _KEPT:
                self._free.append(database)
            else:
                self._server.drop(database)

    def close(self) -> None:
        """Drop the kept databases."""
        while self._free:
            self._server.drop(self._free.pop())

    def _reused(self) -> Database | None:
        while self._free:
            database = self._free.pop()
            try:
                database.run(self._emptying())
            except RuntimeError:
                # The test changed tables or rights, made a lock that lasts, or dropped it.
                self._server.drop(database)
            else:
                return database
        return None

    def _digest_sql(self) -> str:
        rows = [f"SELECT concat('{table} ', t.*) FROM {table} AS t" for table in self._filled]
        parts = " UNION ALL ".join([_DEFINITIONS, *rows])
        return f"SELECT md5(string_agg(d.line, ',' ORDER BY d.line)) FROM ({parts}) AS d (line)"

    def _emptying(self) -> str:
        kept = ",".join(f"'{table}'::REGCLASS" for table in self._filled)
        return f"""
            SET lock_timeout = '5s';
            SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid();
            DO $do$
            DECLARE
                filled TEXT;
            BEGIN
                IF ({self._digest_sql()}) <> '{self._digest}' THEN
                    RAISE EXCEPTION 'not as its template';
                END IF;
                -- A table that nothing was written to has no page.
                SELECT string_agg(t.oid::TEXT, ', ') INTO filled
                FROM ({_TABLES} AND c.oid <> ALL(ARRAY[{kept}]::OID[])) AS t
                WHERE pg_relation_size(t.oid) > 0;
                IF filled <> '' THEN
                    EXECUTE 'TRUNCATE ' || filled || ' CASCADE';
                END IF;
                PERFORM setval(s.seqrelid::REGCLASS, s.seqstart, FALSE) FROM pg_sequence AS s;
            END;
            $do$;
        """
