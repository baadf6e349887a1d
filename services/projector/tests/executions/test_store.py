"""Pages of executions and events are read from indexes."""

import pytest
from noetl_pg.sql.queries import Queries

from services.projector.tests.conftest import Pool

QUERIES = Queries.load("noetl_projector.executions")


@pytest.mark.parametrize(
    ("statement", "arguments", "index"),
    [
        ("read_after", "5, 0, 100, 1000, TRUE", "_execution_id_position_"),
        ("read_page", "5, NULL, NULL, 100, 0, 1000, TRUE, NULL", "_execution_id_position_"),
    ],
)
async def test_f9_a_page_is_read_from_an_index_in_its_order(
    pool: Pool, statement: str, arguments: str, index: str
) -> None:
    """However many executions there are and however long the log is: nothing is sorted first."""
    async with pool.acquire() as connection, connection.transaction():
        # The tables are empty: the plan shows the possible, not the cheapest way.
        for way in ("seqscan", "bitmapscan", "sort"):
            await connection.execute(f"SET LOCAL enable_{way} = off")
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE page AS {QUERIES[statement]}")
        rows = await connection.fetch(f"EXPLAIN EXECUTE page ({arguments})")
        await connection.execute("DEALLOCATE page")
    plan = "\n".join(row[0] for row in rows)

    assert index in plan, plan
    assert "Sort  (" not in plan, plan
