"""The statements of turns."""

import asyncpg
import pytest
from noetl_orchestrator.log.commit_parameters import SHORTER_FORMS
from noetl_orchestrator.log.store import Store
from noetl_pg.sql.queries import Queries
from noetl_testkit.postgres import Database

from services.orchestrator.tests.shard import Shard

QUERIES = Queries.load("noetl_orchestrator.log")


def test_every_statement_has_its_method() -> None:
    assert {name for name in QUERIES if not hasattr(Store, name)} == set(SHORTER_FORMS)


@pytest.mark.parametrize(
    ("statement", "arguments"),
    [
        ("commit_turn", ["[]"] * 7 + ["{}"] + ["[]"] + ["{}"] * 29),
        ("commit_steps", ["[]"] * 4 + ["{}"] * 26),
        ("commit_handed", ["[]"] * 3 + ["{}"] * 18),
    ],
)
async def test_no_look_up_of_the_commit_scans_a_table(
    database: Database, statement: str, arguments: list[str]
) -> None:
    """A plan made on empty tables is kept for long; it must not hold a scan of the log."""
    connection = await asyncpg.connect(database.dsn)
    try:
        # As after the migrations: without rows, and without the statistics that the server may have
        # collected since for rows of earlier tests, which TRUNCATE leaves where they are.
        await connection.execute(
            "TRUNCATE noetl.event, noetl.command, noetl.execution_state, noetl.timer, noetl.outbox"
        )
        await connection.execute(
            "DELETE FROM pg_statistic USING pg_class AS c"
            " WHERE starelid = c.oid AND c.relnamespace = 'noetl'::regnamespace"
        )
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE turn AS {QUERIES[statement]}")
        nothing = ", ".join(f"'{json_or_array}'" for json_or_array in arguments)
        rows = await connection.fetch(f"EXPLAIN EXECUTE turn ({nothing})")
    finally:
        await connection.close()

    assert [row[0] for row in rows if "Seq Scan" in row[0]] == []


async def test_request_keys_are_forgotten_after_their_time(shard: Shard) -> None:
    store = (await shard.open_replica(loops=False)).rooms.store
    await shard.pool.execute(
        "INSERT INTO noetl.request_key (scope, key, execution_id, seen_at) VALUES"
        " ('s', 'old', 1, now() - interval '1 hour'), ('s', 'new', 2, now())"
    )

    await store.purge_request_keys(older_than_seconds=60, limit=10)

    assert [r["key"] for r in await shard.pool.fetch("SELECT key FROM noetl.request_key")] == [
        "new"
    ]
