"""Figures of the pool that turns run on, for the edge's `/api/pool/status` (http-a 2.3)."""

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
from noetl_contract.http.health import PoolStatusAnswer

__all__ = ["make_pool_status"]

type Json = Any
type Pool = asyncpg.Pool[asyncpg.Record]


def make_pool_status(
    pool: Pool, *, kept: Callable[[], int], waiting: Callable[[], int]
) -> Callable[[dict[str, Json]], Awaitable[dict[str, Json]]]:
    """Return the handler of `pool.status`.

    Args:
        pool: the turns' pool.
        kept: connections that turns keep between their statements; to the pool they are in use.
        waiting: inputs that wait for a turn. Nothing ever waits for a connection: there is one
            for each turn, so this is where the load queues up.
    """

    async def on_pool_status(_request: dict[str, Json]) -> dict[str, Json]:
        size, most = pool.get_size(), pool.get_max_size()
        available = pool.get_idle_size() + kept()
        in_use = size - available
        return PoolStatusAnswer(
            pool_min=pool.get_min_size(),
            pool_max=most,
            pool_size=size,
            pool_available=available,
            requests_waiting=waiting(),
            utilization=in_use / most,
            slots_available=most - in_use,
            status="ok",
        ).model_dump()

    return on_pool_status
