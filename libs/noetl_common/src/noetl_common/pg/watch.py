"""Connections of a pool that have died without a word, such as in a NAT that forgot them.

A statement that takes long is not a sign of it. So the server is asked over a new connection: if
it doesn't work on the statement, either the statement or its answer is lost, unless the network
still moves bytes of one of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple
from weakref import WeakSet

import asyncpg

from noetl_common.logging import get_logger
from noetl_common.metrics import counter
from noetl_common.pg.errors import translated
from noetl_common.traffic import Traffic, is_moving, traffic_of

_DEAD = counter(
    "noetl_db_connections_dead_total",
    "Connections closed because a statement or its answer was lost.",
)
_log = get_logger()
_LOOK_SECONDS = 1.0
_ANSWER_SECONDS = 2.0
# A pooler's session isn't the server's: what that does can't be told. Without rights or tracking
# there is no state. An answer may be on its way for a moment.
_FIND_AT_WORK = """
SELECT pg_backend_pid() AS own, array(
    SELECT pid FROM pg_stat_activity
    WHERE pid = ANY($1::int[])
        AND (
            state IS NULL OR state_change > clock_timestamp() - interval '1 second'
            OR NOT (state LIKE 'idle%' OR coalesce(wait_event, '') = 'ClientRead')
        )
) AS at_work /* find_at_work */
"""


class _Seen(NamedTuple):
    """A statement that waited at a look."""

    begun: int
    traffic: Traffic


class WatchedConnection(asyncpg.Connection):
    """A connection that knows whether a statement of it waits for its answer.

    Attributes:
        begun: number of statements so far.
    """

    __slots__ = ("_runs_simple", "begun")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.begun = 0
        self._runs_simple = False

    def _execute(self, *arguments: Any, **options: Any) -> Awaitable[Any]:
        # No coroutine of its own: this is on the way of every statement.
        self.begun += 1
        found: Awaitable[Any] = super()._execute(*arguments, **options)  # type: ignore[misc]
        return found

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:  # noqa: ASYNC109 -- as the driver has it
        """Run a statement or, without arguments, a script."""
        if args:
            return await super().execute(query, *args, timeout=timeout)
        self.begun += 1
        self._runs_simple = True
        try:
            return await super().execute(query, timeout=timeout)
        finally:
            self._runs_simple = False

    @property
    def is_waiting(self) -> bool:
        """Whether a statement waits for its answer."""
        running: Any = self._stmt_exclusive_section  # type: ignore[attr-defined]
        return self._runs_simple or bool(running._acquired)  # noqa: SLF001 -- the driver's own note of it

    @property
    def traffic(self) -> Traffic:
        """Bytes that it has moved."""
        return traffic_of(self._tcp)

    def still_waits(self, seen: _Seen) -> bool:
        """Return whether the statement of then waits, and nothing of it or its answer came."""
        is_same = self.is_waiting and self.begun == seen.begun
        return is_same and not is_moving(self._tcp, since=seen.traffic)

    @property
    def _tcp(self) -> asyncio.WriteTransport:
        found: asyncio.WriteTransport = self._transport  # type: ignore[attr-defined]
        return found


class Watch:
    """Closes dead connections of a pool, whose statements then fail as with any lost connection.

    It costs nothing per statement and asks nothing while statements are answered. Connections of a
    pool are dead together: when one is, those at rest are closed too.

    Args:
        name: of the pool.
        connect: makes a new connection to the same server.

    Attributes:
        connections: of the pool.
    """

    def __init__(self, name: str, connect: Callable[[], Awaitable[Any]]) -> None:
        self.connections: WeakSet[WatchedConnection] = WeakSet()
        self._name = name
        self._connect = connect

    async def run(self) -> None:
        """Look at the connections until cancelled."""
        before: dict[WatchedConnection, _Seen] = {}
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = {one: _Seen(one.begun, one.traffic) for one in self.connections if one.is_waiting}
            suspects = {
                one: before[one]
                for one, seen in now.items()
                if one in before and before[one].begun == seen.begun
            }
            before = now
            if suspects:
                await self._judge(suspects)

    async def _judge(self, suspects: Mapping[WatchedConnection, _Seen]) -> None:
        """Close those of whose statement the server knows nothing or has ended it."""
        processes = {one: one.get_server_pid() for one in suspects}
        at_work = await self._find_at_work(list(processes.values()))
        if at_work is None:
            return
        dead = [
            one
            for one, seen in suspects.items()
            if processes[one] not in at_work and one.still_waits(seen)
        ]
        if not dead:
            return
        at_rest = [
            one
            for one in self.connections
            if not (one.is_waiting or one.is_closed() or one.is_in_transaction())
        ]
        _log.warning("connections_dead", pool=self._name, dead=len(dead), at_rest=len(at_rest))
        _DEAD.inc(len(dead))
        for one in [*dead, *at_rest]:
            one.terminate()

    async def _find_at_work(self, processes: list[int]) -> frozenset[int] | None:
        """Return which of these processes of the server are at work; None if that isn't known."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                connection = await self._connect()
                try:
                    row = await connection.fetchrow(_FIND_AT_WORK, processes)
                    is_direct = row["own"] == connection.get_server_pid()
                finally:
                    connection.terminate()
        except Exception as error:
            if translated(error) is None:
                raise
            return None
        return frozenset(row["at_work"]) if is_direct else None
