"""Every statement of every room fits the migrated schema."""

import asyncpg
import pytest
from noetl_common.pg.queries import Queries

type Pool = asyncpg.Pool[asyncpg.Record]

ROOMS = (
    "dashboard",
    "executions",
    "projection",
    "replay",
    "results",
    "subscriptions",
    "variables",
)


@pytest.mark.parametrize("room", ROOMS)
async def test_every_statement_can_be_prepared(pool: Pool, room: str) -> None:
    queries = Queries.load(f"noetl_projector.{room}")
    async with pool.acquire() as connection:
        for name in queries:
            await connection.prepare(queries[name])

    assert len(queries) >= 2
