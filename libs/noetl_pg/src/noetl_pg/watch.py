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
from noetl_common.logins import LoginSource, LoginUnreadable
from noetl_common.metrics import counter
from noetl_common.traffic import Traffic, traffic_of

from noetl_pg.errors import is_answer, translated

_DEAD = counter(
    "noetl_db_connections_dead_total",
    "Connections closed because a statement or its answer was lost.",
)
_log = get_logger()
_LOOK_SECONDS = 1.0
_SUSPECT_SECONDS = 0.9
_PAUSE_SECONDS = 0.25
_LOGIN_SECONDS = 10.0
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
    traffic: Traffic | None


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
    def traffic(self) -> Traffic | None:
        """Bytes that it has moved; None if that isn't known."""
        transport: asyncio.WriteTransport = self._transport  # type: ignore[attr-defined]
        return traffic_of(transport)

    def still_waits(self, seen: _Seen) -> bool:
        """Return whether the statement of then waits, and not a byte has moved since."""
        is_known = seen.traffic is not None
        return is_known and self.is_waiting and _Seen(self.begun, self.traffic) == seen


class Reach:
    """Whether the database answers new connections, for a pool whose watch keeps this.

    Nobody asks it while statements are answered. It is asked while they are not, while it does not
    answer, for some time after that, and when somebody wants to know.

    Attributes:
        clock: in seconds.
        give_up: closes the connections whose statements wait.
        answer_seconds: time for the answer to a question.
        last_seconds: time for a statement to be answered after all, once a new connection passes:
            TCP sends what a gap of up to three seconds has lost again by then.
    """

    def __init__(
        self,
        clock: Callable[[], float] = monotonic,
        *,
        answer_seconds: float = 2.0,
        last_seconds: float = 2.0,
    ) -> None:
        self.give_up: Callable[[], None] = lambda: None
        self.answer_seconds = answer_seconds
        self.last_seconds = last_seconds
        self.clock = clock
        self._away_since: float | None = None
        self._asked_at: float | None = None
        self._looked_at = self._failed_at = float("-inf")
        self._back_since = self._proven_at = float("-inf")
        self._wanted = asyncio.Event()

    @property
    def away_seconds(self) -> float:
        """Time since the first question in a row that was not answered; 0 while it answers."""
        return 0.0 if self._away_since is None else self.clock() - self._away_since

    @property
    def is_doubtful(self) -> bool:
        """Whether it does not answer, or takes its time with the present question."""
        asked_at = self.clock() if self._asked_at is None else self._asked_at
        return self._away_since is not None or self.clock() - asked_at > _DOUBT_SECONDS

    def failed_since(self, moment: float) -> bool:
        """Return whether a question got no answer that was asked after a moment."""
        return self._failed_at > moment

    @property
    def back_seconds(self) -> float:
        """Time since it answers again; 0 while it does not."""
        return 0.0 if self._away_since is not None else self.clock() - self._back_since

    @property
    def is_proven(self) -> bool:
        """Whether it has answered a question quickly just now."""
        return self.clock() - self._proven_at < _PROVEN_SECONDS

    def ask(self) -> None:
        """Have it asked now."""
        self._wanted.set()

    async def rest(self) -> bool:
        """Wait until the next look; return whether it is to be asked in any case."""
        await asyncio.sleep(_PAUSE_SECONDS)
        left = self._looked_at + _LOOK_SECONDS - self.clock()
        with suppress(TimeoutError):
            async with asyncio.timeout(left):
                await self._wanted.wait()
        self._looked_at = self.clock()
        is_wanted = self._wanted.is_set() or self.away_seconds > 0
        self._wanted.clear()
        return is_wanted or self.back_seconds < _AGAIN_SECONDS

    def begin(self) -> None:
        """Note that a question is asked now."""
        self._asked_at = self.clock()

    def forget(self) -> None:
        """Note that the question is over, whether or not something became of it."""
        self._asked_at = None

    def note(self, *, is_answered: bool) -> None:
        """Note what became of the question."""
        asked_at, self._asked_at = self._asked_at or self.clock(), None
        if not is_answered:
            self._failed_at = asked_at
            self._away_since = asked_at if self._away_since is None else self._away_since
            return
        now = self.clock()
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
        connect: makes a new connection to the same server; takes `user` and `password` as the
            driver does.
        reach: is kept up to date.
        login: of those connections; that of `connect` unless given.

    Attributes:
        connections: of the pool.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[..., Awaitable[Any]],
        reach: Reach,
        login: LoginSource | None = None,
    ) -> None:
        self.connections: WeakSet[WatchedConnection] = WeakSet()
        self._name = name
        self._connect = connect
        self._reach = reach
        self._login = login
        self._before: dict[WatchedConnection, _Seen] = {}
        self._before_at = float("-inf")
        reach.give_up = self._give_up

    async def run(self) -> None:
        """Look at the connections until cancelled."""
        while True:
            is_wanted = await self._reach.rest()
            try:
                suspects = self._find_suspects()
                if suspects or is_wanted:
                    await self._judge(suspects)
            except Exception as error:  # noqa: BLE001 -- who watches goes on
                _log.error("pool_watch_failed", pool=self._name, exc_info=error)

    def _find_suspects(self) -> dict[WatchedConnection, _Seen]:
        """Return connections whose statement has waited for a look's time, as seen before it."""
        moment = self._reach.clock()
        if moment - self._before_at < _SUSPECT_SECONDS:
            return {}  # somebody had it look in between
        before, self._before_at = self._before, moment
        self._before = {
            one: _Seen(one.begun, one.traffic) for one in self.connections if one.is_waiting
        }
        return {
            one: before[one]
            for one, seen in self._before.items()
            if one in before and before[one].begun == seen.begun
        }

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
        silent = {
            one: seen
            for one, seen in suspects.items()
            if processes[one] not in at_work and one.still_waits(seen)
        }
        if not silent:
            return
        await asyncio.sleep(self._reach.last_seconds)
        dead = [one for one, seen in silent.items() if one.still_waits(seen)]
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
        source = self._login
        if source is None:
            with suppress(asyncpg.InvalidAuthorizationSpecificationError):
                return await self._ask(processes)
            return None
        # Where a login can't be read, that says nothing about the database.
        with suppress(LoginUnreadable, TimeoutError):
            async with asyncio.timeout(_LOGIN_SECONDS):
                login = await source.current()
            try:
                return await self._ask(processes, user=login.user, password=login.password)
            except asyncpg.InvalidAuthorizationSpecificationError:
                async with asyncio.timeout(_LOGIN_SECONDS):
                    await source.after_refusal(login)  # the next look has another, if there is one
        return None

    async def _ask(self, processes: list[int], **login: str) -> frozenset[int] | None:
        """Ask which processes are at work, and note whether that was answered.

        Raises:
            InvalidAuthorizationSpecificationError: the login is refused.
        """
        self._reach.begin()
        try:
            async with asyncio.timeout(self._reach.answer_seconds):
                connection = await self._connect(**login)
                try:
                    row = await connection.fetchrow(_FIND_AT_WORK, processes)
                    is_direct = row["own"] == connection.get_server_pid()
                finally:
                    connection.terminate()
        except asyncpg.InvalidAuthorizationSpecificationError:
            raise
        except Exception as error:  # noqa: BLE001 -- who watches goes on
            if translated(error) is None:
                _log.error("database_not_asked", pool=self._name, exc_info=error)
            elif not is_answer(error):
                self._reach.note(is_answered=False)
            return None
        else:
            self._reach.note(is_answered=True)
            return frozenset(row["at_work"]) if is_direct else None
        finally:
            self._reach.forget()
