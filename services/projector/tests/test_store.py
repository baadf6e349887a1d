"""Every statement fits the migrated schema."""

import asyncpg
from noetl_common.pg.queries import Queries

type Pool = asyncpg.Pool[asyncpg.Record]


async def test_every_statement_can_be_prepared(pool: Pool) -> None:
    queries = Queries.load("noetl_projector")
    async with pool.acquire() as connection:
        for name in queries:
            await connection.prepare(queries[name])
