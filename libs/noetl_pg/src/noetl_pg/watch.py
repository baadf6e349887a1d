"""Detection of half-open connections of a pool, such as behind a NAT that dropped its state.

A slow statement looks the same as a lost one. A new connection asks the server which statements it
executes. If a statement isn't executed and no byte of it moves on the network, the statement or its
answer is lost. Keepalive of the kernel doesn't detect this if a proxy, a pooler or a load balancer
in between still acknowledges bytes.
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
_POLL_SECONDS = 1.0
_SUSPECT_SECONDS = 0.9
_PAUSE_SECONDS = 0.25
_LOGIN_SECONDS = 10.0
_DOUBT_SECONDS = 0.5
_QUICK_SECONDS = 1.0
_PROVEN_SECONDS = 2.0
_AGAIN_SECONDS = 10.0
# A row without a state counts as executing: the role lacks rights, or tracking is off. So does a
# row that has just changed its state, because its answer may still be on its way.
_FIND_EXECUTING = """
SELECT pg_backend_pid() AS own, array(
    SELECT pid FROM pg_stat_activity
    WHERE pid = ANY($1::int[])
        AND (
            state IS NULL OR state_change > clock_timestamp() - interval '1 second'
            OR NOT (state LIKE 'idle%' OR coalesce(wait_event, '') = 'ClientRead')
        )
) AS executing /* find_executing */
"""


class _Seen(NamedTuple):
    """A statement that was waiting at the last poll."""

    begun: int
    traffic: Traffic | None


class WatchedConnection(asyncpg.Connection):
    """A connection that records whether one of its statements waits for an answer.

    Attributes:
        begun: number of statements so far.
    """

    __slots__ = ("_runs_simple", "begun")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.begun = 0
        self._runs_simple = False

    def _execute(self, *arguments: Any, **options: Any) -> Awaitable[Any]:
        # This is no coroutine, because every statement passes through it.
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
        is_running = self._runs_simple or running._acquired  # noqa: SLF001 -- the driver's own flag
        return bool(is_running) and not self.is_closed()

    @property
    def traffic(self) -> Traffic | None:
        """Byte counters of the connection, or None if they are unknown."""
        transport: asyncio.WriteTransport = self._transport  # type: ignore[attr-defined]
        return traffic_of(transport)

    def still_waits(self, seen: _Seen) -> bool:
        """Return whether the same statement still waits, and no byte has moved since."""
        is_known = seen.traffic is not None
        return is_known and self.is_waiting and _Seen(self.begun, self.traffic) == seen


class Reachability:
    """Result of probes that test whether the database answers on a new connection.

    The watch of a pool probes while statements wait, while the database does not answer, for some
    time after that, and on request. While all statements are answered, it doesn't probe.

    Attributes:
        clock: monotonic clock in seconds.
        give_up: closes the connections whose statements wait.
        answer_seconds: timeout of a probe.
        last_seconds: time for a waiting statement to be answered after a probe succeeded. After a
            network gap of up to three seconds, TCP has retransmitted lost bytes by then.
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
        self._probed_at: float | None = None
        self._polled_at = self._failed_at = float("-inf")
        self._back_since = self._proven_at = float("-inf")
        self._is_requested = asyncio.Event()

    @property
    def away_seconds(self) -> float:
        """Time since the first of the current failed probes began; 0 if the last one succeeded."""
        return 0.0 if self._away_since is None else self.clock() - self._away_since

    @property
    def is_doubtful(self) -> bool:
        """Whether the last probe failed, or the current probe is slow."""
        probed_at = self.clock() if self._probed_at is None else self._probed_at
        return self._away_since is not None or self.clock() - probed_at > _DOUBT_SECONDS

    def failed_since(self, moment: float) -> bool:
        """Return whether a probe failed that began after a moment."""
        return self._failed_at > moment

    @property
    def back_seconds(self) -> float:
        """Time since probes succeed again; 0 while they fail."""
        return 0.0 if self._away_since is not None else self.clock() - self._back_since

    @property
    def is_proven(self) -> bool:
        """Whether a probe has just succeeded quickly."""
        return self.clock() - self._proven_at < _PROVEN_SECONDS

    def probe_now(self) -> None:
        """Request a probe."""
        self._is_requested.set()

    async def wait_for_probe(self) -> bool:
        """Wait until the next poll; return whether it has to probe even if no statement waits."""
        await asyncio.sleep(_PAUSE_SECONDS)
        left = self._polled_at + _POLL_SECONDS - self.clock()
        with suppress(TimeoutError):
            async with asyncio.timeout(left):
                await self._is_requested.wait()
        self._polled_at = self.clock()
        is_requested = self._is_requested.is_set() or self.away_seconds > 0
        self._is_requested.clear()
        return is_requested or self.back_seconds < _AGAIN_SECONDS

    def begin_probe(self) -> None:
        """Record that a probe begins."""
        self._probed_at = self.clock()

    def end_probe(self) -> None:
        """Record that no probe runs, whether or not the last one had a result."""
        self._probed_at = None

    def record_probe(self, *, is_answered: bool) -> None:
        """Record the result of the current probe."""
        probed_at, self._probed_at = self._probed_at or self.clock(), None
        if not is_answered:
            self._failed_at = probed_at
            self._away_since = probed_at if self._away_since is None else self._away_since
            return
        now = self.clock()
        if self._away_since is not None:
            self._away_since, self._back_since = None, now
        if now - probed_at < _QUICK_SECONDS:
            self._proven_at = now


class Watch:
    """Closes half-open connections of a pool, so that their statements fail.

    The watch costs nothing per statement and doesn't probe while statements are answered. Usually
    all connections of a pool die together, so if one is dead, idle connections are closed too.

    Args:
        name: name of the pool.
        connect: opens a new connection to the same server; accepts `user` and `password`.
        reach: is updated with the results of probes.
        login: login of the new connections, unless `connect` has one.

    Attributes:
        connections: the connections of the pool.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[..., Awaitable[Any]],
        reach: Reachability,
        login: LoginSource | None = None,
    ) -> None:
        self.connections: WeakSet[WatchedConnection] = WeakSet()
        self._name = name
        self._connect = connect
        self._reach = reach
        self._login = login
        self._last_seen: dict[WatchedConnection, _Seen] = {}
        self._last_seen_at = float("-inf")
        reach.give_up = self._give_up

    async def run(self) -> None:
        """Poll the connections until cancelled."""
        while True:
            has_to_probe = await self._reach.wait_for_probe()
            try:
                suspects = self._find_suspects()
                if suspects or has_to_probe:
                    await self._close_dead(suspects)
            except Exception as error:  # noqa: BLE001 -- the watch has to go on
                _log.error("pool_watch_failed", pool=self._name, exc_info=error)

    def _find_suspects(self) -> dict[WatchedConnection, _Seen]:
        """Return connections whose statement has waited since the last poll, as seen then."""
        moment = self._reach.clock()
        if moment - self._last_seen_at < _SUSPECT_SECONDS:
            return {}  # a requested probe came too early to judge
        before, self._last_seen_at = self._last_seen, moment
        self._last_seen = {
            one: _Seen(one.begun, one.traffic) for one in self.connections if one.is_waiting
        }
        return {
            one: before[one]
            for one, seen in self._last_seen.items()
            if one in before and before[one].begun == seen.begun
        }

    def _give_up(self) -> None:
        """Close the connections whose statements wait."""
        for one in [one for one in self.connections if one.is_waiting]:
            one.terminate()

    async def _close_dead(self, suspects: Mapping[WatchedConnection, _Seen]) -> None:
        """Close connections whose statement the server doesn't execute, and idle connections."""
        processes = {one: one.get_server_pid() for one in suspects}
        executing = await self._find_executing(list(processes.values()))
        if executing is None:
            return
        silent = {
            one: seen
            for one, seen in suspects.items()
            if processes[one] not in executing and one.still_waits(seen)
        }
        if not silent:
            return
        await asyncio.sleep(self._reach.last_seconds)
        dead = [one for one, seen in silent.items() if one.still_waits(seen)]
        if not dead:
            return
        idle = [
            one
            for one in self.connections
            if not (one.is_waiting or one.is_closed() or one.is_in_transaction())
        ]
        _log.warning("connections_dead", pool=self._name, dead=len(dead), idle=len(idle))
        _DEAD.inc(len(dead))
        for one in [*dead, *idle]:
            one.terminate()

    async def _find_executing(self, processes: list[int]) -> frozenset[int] | None:
        """Return which processes of the server execute a statement; None if that is unknown."""
        source = self._login
        if source is None:
            with suppress(asyncpg.InvalidAuthorizationSpecificationError):
                return await self._probe(processes)
            return None
        # A login that can't be read is no evidence of an outage of the database.
        with suppress(LoginUnreadable, TimeoutError):
            async with asyncio.timeout(_LOGIN_SECONDS):
                login = await source.current()
            try:
                return await self._probe(processes, user=login.user, password=login.password)
            except asyncpg.InvalidAuthorizationSpecificationError:
                async with asyncio.timeout(_LOGIN_SECONDS):
                    await source.after_refusal(login)  # renews the login for the next probe
        return None

    async def _probe(self, processes: list[int], **login: str) -> frozenset[int] | None:
        """Query the executing processes over a new connection, and record the result.

        Returns:
            The executing ones among ``processes``. None if the probe failed, or if a pooler is in
            between: then a session is not bound to one process of the server.

        Raises:
            InvalidAuthorizationSpecificationError: the login is refused.
        """
        self._reach.begin_probe()
        try:
            async with asyncio.timeout(self._reach.answer_seconds):
                connection = await self._connect(**login)
                try:
                    row = await connection.fetchrow(_FIND_EXECUTING, processes)
                    is_direct = row["own"] == connection.get_server_pid()
                finally:
                    connection.terminate()
        except asyncpg.InvalidAuthorizationSpecificationError:
            raise
        except Exception as error:  # noqa: BLE001 -- the watch has to go on
            if translated(error) is None:
                _log.error("database_probe_failed", pool=self._name, exc_info=error)
            elif not is_answer(error):
                self._reach.record_probe(is_answered=False)
            return None
        else:
            self._reach.record_probe(is_answered=True)
            return frozenset(row["executing"]) if is_direct else None
        finally:
            self._reach.end_probe()
