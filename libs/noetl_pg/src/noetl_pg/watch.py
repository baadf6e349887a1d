"""Connections of a pool that have died without a word, such as in a NAT that forgot them.

A statement that takes long is not a sign of it. So the server is asked over a new connection: if
it doesn't work on the statement, either the statement or its answer is lost, unless the network
still moves bytes of one of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any, NamedTuple
from weakref import WeakSet

import asyncpg
from noetl_common.logging import get_logger
from noetl_common.metrics import counter
from noetl_common.traffic import Traffic, traffic_of

from noetl_pg.errors import translated

_DEAD = counter(
    "noetl_db_connections_dead_total",
    "Connections closed because a statement or its answer was lost.",
)
_log = get_logger()
_LOOK_SECONDS = 1.0
_ANSWER_SECONDS = 2.0
_SHORTEST_SECONDS = 0.05
_DOUBT_SECONDS = 0.5
_QUICK_SECONDS = 1.0
_PROVEN_SECONDS = 2.0
_AGAIN_SECONDS = 10.0
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
        is_running = self._runs_simple or running._acquired  # noqa: SLF001 -- the driver's own note of it
        return bool(is_running) and not self.is_closed()

    @property
    def traffic(self) -> Traffic:
        """Bytes that it has moved."""
        transport: asyncio.WriteTransport = self._transport  # type: ignore[attr-defined]
        return traffic_of(transport)

    def still_waits(self, seen: _Seen) -> bool:
        """Return whether the statement of then waits, and not a byte has moved since."""
        return self.is_waiting and _Seen(self.begun, self.traffic) == seen


class Reach:
    """Whether the database answers new connections, for a pool whose watch keeps this.

    Nobody asks it while statements are answered. It is asked while they are not, while it does not
    answer, for some time after that, and when somebody wants to know.

    Attributes:
        give_up: closes the connections whose statements wait.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.give_up: Callable[[], None] = lambda: None
        self._clock = clock
        self._away_since: float | None = None
        self._asked_at: float | None = None
        self._looked_at = self._failed_at = float("-inf")
        self._back_since = self._proven_at = float("-inf")
        self._wanted = asyncio.Event()

    @property
    def away_seconds(self) -> float:
        """Time since the first question in a row that was not answered; 0 while it answers."""
        return 0.0 if self._away_since is None else self._clock() - self._away_since

    @property
    def is_doubtful(self) -> bool:
        """Whether it does not answer, or takes its time with the present question."""
        asked_at = self._clock() if self._asked_at is None else self._asked_at
        return self._away_since is not None or self._clock() - asked_at > _DOUBT_SECONDS

    def failed_since(self, moment: float) -> bool:
        """Return whether a question got no answer that was asked after a moment."""
        return self._failed_at > moment

    @property
    def back_seconds(self) -> float:
        """Time since it answers again; 0 while it does not."""
        return 0.0 if self._away_since is not None else self._clock() - self._back_since

    @property
    def is_proven(self) -> bool:
        """Whether it has answered a question quickly just now."""
        return self._clock() - self._proven_at < _PROVEN_SECONDS

    def ask(self) -> None:
        """Have it asked now."""
        self._wanted.set()

    async def rest(self) -> bool:
        """Wait until the next look; return whether it is to be asked in any case."""
        left = self._looked_at + _LOOK_SECONDS - self._clock()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(left, _SHORTEST_SECONDS)):
                await self._wanted.wait()
        self._looked_at = self._clock()
        is_wanted = self._wanted.is_set() or self.away_seconds > 0
        self._wanted.clear()
        return is_wanted or self.back_seconds < _AGAIN_SECONDS

    def begin(self) -> None:
        """Note that a question is asked now."""
        self._asked_at = self._clock()

    def note(self, *, is_answered: bool) -> None:
        """Note what became of the question."""
        asked_at, self._asked_at = self._asked_at or self._clock(), None
        if not is_answered:
            self._failed_at = asked_at
            self._away_since = asked_at if self._away_since is None else self._away_since
            return
        now = self._clock()
        if self._away_since is not None:
            self._away_since, self._back_since = None, now
        if now - asked_at < _QUICK_SECONDS:
            self._proven_at = now


class Watch:
    """Closes dead connections of a pool, whose statements then fail as with any lost connection.

    It costs nothing per statement and asks nothing while statements are answered. Connections of a
    pool are dead together: when one is, those at rest are closed too.

    Args:
        name: of the pool.
        connect: makes a new connection to the same server.
        reach: is kept up to date.

    Attributes:
        connections: of the pool.
    """

    def __init__(self, name: str, connect: Callable[[], Awaitable[Any]], reach: Reach) -> None:
        self.connections: WeakSet[WatchedConnection] = WeakSet()
        self._name = name
        self._connect = connect
        self._reach = reach
        reach.give_up = self._give_up

    async def run(self) -> None:
        """Look at the connections until cancelled."""
        before: dict[WatchedConnection, _Seen] = {}
        while True:
            is_wanted = await self._reach.rest()
            now = {one: _Seen(one.begun, one.traffic) for one in self.connections if one.is_waiting}
            suspects = {
                one: before[one]
                for one, seen in now.items()
                if one in before and before[one].begun == seen.begun
            }
            before = now
            if suspects or is_wanted:
                await self._judge(suspects)

    def _give_up(self) -> None:
        """Close the connections whose statements wait."""
        for one in [one for one in self.connections if one.is_waiting]:
            one.terminate()

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
        self._reach.begin()
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                connection = await self._connect()
                try:
                    row = await connection.fetchrow(_FIND_AT_WORK, processes)
                    is_direct = row["own"] == connection.get_server_pid()
                finally:
                    connection.terminate()
        except Exception as error:  # noqa: BLE001 -- who watches goes on
            if translated(error) is None:
                _log.error("database_not_asked", pool=self._name, exc_info=error)
                return None
            self._reach.note(is_answered=False)
            return None
        self._reach.note(is_answered=True)
        return frozenset(row["at_work"]) if is_direct else None
