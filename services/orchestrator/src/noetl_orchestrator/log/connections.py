"""Database connections kept for turns, whose plans are dropped from time to time."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
from noetl_bus.rpc import Handler, handle
from noetl_contract.http.system.health import PoolStatusAnswer
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.orchestrator import POOL_STATUS
from noetl_pg.database import Connection
from noetl_pg.pool import Pool, release_checked

_FIRST_PLANS_SECONDS = 1.0
_LONGEST_PLANS_SECONDS = 60.0
# Statements of turns find all rows by indexes. A scan is the right plan for a small table, and
# goes on when it has grown; to compile one costs more than all of them take.
_SESSION = "SET enable_seqscan = off; SET jit = off"


@dataclass(slots=True)
class _Held:
    connection: Connection
    plans_seconds: float
    plans_until: float


class TurnConnections:
    """Borrowed connections of a pool, kept for the next turn.

    Plans of prepared statements are dropped regularly: one made while the tables were small would
    otherwise be kept until the server analyses them.
    """

    def __init__(
        self,
        pool: Pool,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        keeps: bool = True,
    ) -> None:
        self._pool = pool
        self._keeps = keeps
        self._monotonic = monotonic
        self._free: list[_Held] = []

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[Connection]:
        """Yield a connection; after an error it goes back to the pool, which checks it."""
        held = self._kept() or await self._take()
        try:
            if self._monotonic() >= held.plans_until:
                await self._forget_plans(held)
            yield held.connection
        except BaseException:
            await release_checked(self._pool, held.connection)
            raise
        if self._keeps:
            self._free.append(held)
        else:
            await self._pool.release(held.connection)

    def count_kept(self) -> int:
        """Count the living, unused connections."""
        return sum(_is_alive(held) for held in self._free)

    async def close(self) -> None:
        """Give all connections back."""
        while self._free:
            await self._pool.release(self._free.pop().connection)

    def _kept(self) -> _Held | None:
        """Return a living kept connection; drop dead ones."""
        while self._free:
            held = self._free.pop()
            if _is_alive(held):
                return held
        return None

    async def _take(self) -> _Held:
        connection = await self._pool.acquire()
        try:
            await connection.execute(_SESSION)
        except BaseException:
            await release_checked(self._pool, connection)
            raise
        return _Held(connection, _FIRST_PLANS_SECONDS, self._monotonic() + _FIRST_PLANS_SECONDS)

    async def _forget_plans(self, held: _Held) -> None:
        await held.connection.execute("DISCARD PLANS")
        held.plans_seconds = min(held.plans_seconds * 2, _LONGEST_PLANS_SECONDS)
        held.plans_until = self._monotonic() + held.plans_seconds


def _is_alive(held: _Held) -> bool:
    try:
        return not held.connection.is_closed()
    except asyncpg.InterfaceError:
        return False


def pool_status_handler(
    pool: Pool, *, kept: Callable[[], int], waiting: Callable[[], int]
) -> Handler:
    """Return the handler of ``pool.status``.

    Args:
        pool: the turns' pool.
        kept: connections that turns keep between their statements; to the pool they are in use.
        waiting: inputs that wait for a turn. Nothing waits for a connection, because each turn
            has its own, so the load queues here.
    """

    async def on_pool_status(_request: Nothing) -> PoolStatusAnswer:
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
        )

    return handle(POOL_STATUS, on_pool_status)
