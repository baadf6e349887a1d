"""A real PostgreSQL behind virtual time: the statements are the shipped ones, run one at a time.

Each runs to its end at one moment of virtual time, on one connection; before and behind it lies
the way there and back. So their order is that of the simulation, and there is no second meaning
of SQL. ``now()`` and ``clock_timestamp()`` are the virtual time. A transaction of several
statements has the database to itself, as if all else waited for its locks.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import asyncpg
import orjson
from noetl_pg import pool as pools
from noetl_pg.watch import Reachability
from noetl_testkit.postgres import Database

from tests.simulation import clocks
from tests.simulation.universe import Process, Universe

CLOCKS = """
CREATE SCHEMA IF NOT EXISTS simulated;
CREATE OR REPLACE FUNCTION simulated.now() RETURNS timestamptz LANGUAGE sql STABLE AS
$$ SELECT pg_catalog.current_setting('simulated.now')::pg_catalog.timestamptz $$;
CREATE OR REPLACE FUNCTION simulated.clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS
$$ SELECT pg_catalog.current_setting('simulated.now')::pg_catalog.timestamptz $$;
"""
_PROBE_SECONDS = 2.0
_PATH = "simulated, pg_catalog, public"
_IGNORED = ("SET enable_seqscan", "DISCARD PLANS")


class Server:
    """The one real connection, and what may go wrong with the simulated server.

    Attributes:
        is_up: whether it answers.
        is_full: whether writes fail for want of room.
        offset: seconds by which its clock is ahead.
        latency: from the shortest to the longest way to it, in seconds.
        holes: by the name of a process, until when nothing of it passes.
    """

    usual_latency = (0.0002, 0.003)

    def __init__(self, database: Database) -> None:
        self._loop = asyncio.new_event_loop()
        self._set_at = ""
        self.universe: Universe = Universe(0)
        self.on_commit: Callable[[], None] | None = None
        self.statements = 0
        self.reset()
        self._connection = self.now(self._connect(database))
        self._kept = set(self.now(self._filled()))

    def reset(self) -> None:
        """Be as new for the next world."""
        self.is_up, self.is_full = True, False
        self.offset = 0.0
        self.latency = self.usual_latency
        self.holes: dict[str, float] = {}
        self.epoch = 0
        self.busy: asyncio.Future[None] | None = None
        self.queue: deque[tuple[Process, asyncio.Future[None]]] = deque()
        self.holder: object | None = None

    def now(self, work: Awaitable[Any]) -> Any:
        """Run something on the real connection, in no virtual time."""
        running = asyncio._get_running_loop()
        task = asyncio.current_task(running) if running is not None else None
        if task is not None:
            asyncio._leave_task(running, task)
        asyncio._set_running_loop(None)
        try:
            return self._loop.run_until_complete(work)
        finally:
            asyncio._set_running_loop(running)
            if task is not None:
                asyncio._enter_task(running, task)

    def ask(self, call: str, statement: str, *arguments: Any) -> Any:
        """Run one statement at the virtual time."""
        moment = datetime.fromtimestamp(
            clocks.BEGAN + self.universe.now + self.offset, UTC
        ).isoformat()
        self.statements += 1
        return self.now(self._ask(moment, call, statement, arguments))

    async def _ask(self, moment: str, call: str, statement: str, arguments: Any) -> Any:
        if moment != self._set_at:
            self._set_at = moment
            await self._connection.execute("SELECT set_config('simulated.now', $1, FALSE)", moment)
        return await getattr(self._connection, call)(statement, *arguments)

    async def _connect(self, database: Database) -> Any:
        connection = await asyncpg.connect(
            database.dsn,
            statement_cache_size=2000,
            max_cached_statement_lifetime=0,
            server_settings={"search_path": _PATH, "timezone": "UTC", "jit": "off",
                             "enable_seqscan": "off", "plan_cache_mode": "force_generic_plan"},
        )  # fmt: skip
        for name, encode, decode in (
            ("jsonb", pools._encode_jsonb, pools._decode_jsonb),
            ("json", pools._dump, orjson.loads),
        ):
            await connection.set_type_codec(
                name, schema="pg_catalog", encoder=encode, decoder=decode, format="binary"
            )
        return connection

    def keep_filled(self) -> None:
        """Let all that tables have now be there at the begin of each world."""
        self._kept = set(self.now(self._filled()))

    async def empty(self, *but: str) -> None:
        """Empty all tables but those that a migrated database has rows in; restart sequences."""
        filled = [name for name in await self._filled() if name not in self._kept | set(but)]
        if filled:
            await self._connection.execute(f"TRUNCATE {', '.join(filled)} CASCADE")
        await self._connection.execute(
            "SELECT setval(s.seqrelid::REGCLASS, s.seqstart, FALSE) FROM pg_sequence AS s"
        )

    async def _filled(self) -> list[str]:
        rows = await self._connection.fetch(
            "SELECT c.oid::REGCLASS::TEXT AS name FROM pg_class AS c"
            " INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid"
            " WHERE c.relkind = 'r' AND n.nspname = 'noetl' AND pg_relation_size(c.oid) > 0"
        )
        return [row["name"] for row in rows]

    def kill(self) -> None:
        """End all sessions, as a restart of the server does."""
        self.epoch += 1
        self.release_all()

    def release_dead(self) -> None:
        """Roll back the transaction of a process that is gone."""
        if self.holder is not None and not self.holder._process.is_alive:  # type: ignore[attr-defined]
            self.holder.leave()  # type: ignore[attr-defined]

    def release_all(self) -> None:
        """Roll back the open transaction, if there is one."""
        if self.holder is not None:
            self.holder.leave()  # type: ignore[attr-defined]

    def close(self) -> None:
        """Close the real connection."""
        self.now(self._connection.close())
        self._loop.close()


class Pool:
    """A pool of asyncpg, as far as our code uses it."""

    def __init__(self, server: Server, name: str, most: int) -> None:
        self._server = server
        self._most = most
        self._used = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.name = name

    def get_size(self) -> int:
        return max(1, self._used)

    get_min_size = get_size

    def get_max_size(self) -> int:
        return self._most

    def get_idle_size(self) -> int:
        return max(0, 1 - self._used)

    async def acquire(self) -> "Connection":
        while self._used >= self._most:
            freed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(freed)
            await freed
        self._used += 1
        return Connection(self._server)

    async def release(self, connection: "Connection") -> None:
        connection.leave()
        self._used -= 1
        while self._waiting:
            freed = self._waiting.popleft()
            if not freed.done():
                freed.set_result(None)
                break

    async def fetch(self, statement: str, *arguments: Any) -> Any:
        return await Connection(self._server).fetch(statement, *arguments)

    async def fetchrow(self, statement: str, *arguments: Any) -> Any:
        return await Connection(self._server).fetchrow(statement, *arguments)

    async def fetchval(self, statement: str, *arguments: Any) -> Any:
        row = await Connection(self._server).fetchrow(statement, *arguments)
        return None if row is None else row[0]

    async def close(self) -> None:
        pass

    def terminate(self) -> None:
        pass


class Connection:
    """A connection of asyncpg, as far as our code uses it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._process: Process = asyncio.get_running_loop()  # type: ignore[assignment]
        self._epoch = server.epoch
        self._is_broken = False

    def is_closed(self) -> bool:
        return self._is_broken or self._epoch != self._server.epoch

    async def fetch(self, statement: str, *arguments: Any, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        return await self._run("fetch", statement, arguments, timeout)

    async def fetchrow(self, statement: str, *arguments: Any, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        return await self._run("fetchrow", statement, arguments, timeout)

    async def execute(self, statement: str, *arguments: Any, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        if statement.startswith(_IGNORED):
            return ""
        return await self._run("execute", statement, arguments, timeout)

    async def reset(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109
        del timeout
        self.leave()
        if self._is_broken or not self._server.is_up:
            raise asyncpg.ConnectionDoesNotExistError("connection was closed")

    def terminate(self) -> None:
        self.leave()
        self._is_broken = True

    def leave(self) -> None:
        """Roll back what is open."""
        server = self._server
        if server.holder is self:
            server.ask("execute", "ROLLBACK")
            self._let_go()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        server = self._server
        if server.holder is self:
            server.ask("execute", "SAVEPOINT inner_one")
            try:
                yield
            except BaseException:
                if server.holder is self:
                    server.ask("execute", "ROLLBACK TO SAVEPOINT inner_one")
                raise
            return
        await self._wait_turn()
        server.holder = self
        server.ask("execute", "BEGIN")
        try:
            yield
        except BaseException:
            self.leave()
            raise
        await self._pass()
        if server.holder is not self:
            raise asyncpg.ConnectionDoesNotExistError("connection was closed")
        server.ask("execute", "COMMIT")
        self._let_go()
        await self._pass()

    def _let_go(self) -> None:
        server = self._server
        server.holder = None
        while server.queue:
            process, waiter = server.queue.popleft()
            process.arrives(partial(_wake, waiter))

    async def _wait_turn(self) -> None:
        server = self._server
        while server.holder is not None and server.holder is not self:
            owner = server.holder
            if not owner._process.is_alive:  # type: ignore[attr-defined]
                owner.leave()  # type: ignore[attr-defined]
                continue
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            server.queue.append((self._process, waiter))
            async with asyncio.timeout(1.0):
                await waiter

    async def _run(self, call: str, statement: str, arguments: Any, seconds: float | None) -> Any:
        server = self._server
        try:
            async with asyncio.timeout(seconds or 30.0):
                await self._pass()
                await self._wait_turn()
                if server.is_full and _writes(statement):
                    raise asyncpg.DiskFullError("could not extend file: No space left on device")
                try:
                    found = server.ask(call, statement, *arguments)
                    if server.on_commit is not None and "INSERT INTO noetl.event" in statement:
                        server.on_commit()
                except asyncpg.PostgresError as error:
                    await asyncio.sleep(self._way())
                    raise error from None
                await self._pass()
        except TimeoutError:
            self._is_broken = True
            raise
        return found

    async def _pass(self) -> None:
        """Go one way, there or back; a cut connection is noticed at the end of it."""
        server = self._server
        if self.is_closed() or not server.is_up:
            self._is_broken = True
            raise asyncpg.ConnectionDoesNotExistError("connection was closed")
        await asyncio.sleep(self._way())
        while (hole := server.holes.get(self._process.name, 0.0)) > server.universe.now:
            await asyncio.sleep(hole - server.universe.now)
        if self.is_closed():
            self._is_broken = True
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle")

    def _way(self) -> float:
        shortest, longest = self._server.latency
        return shortest + (longest - shortest) * self._server.universe.random.random() ** 3


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _writes(statement: str) -> bool:
    return any(word in statement for word in ("INSERT INTO", "UPDATE noetl"))


def pool_opener(server: Server) -> Callable[..., Any]:
    """Return what stands in for `noetl_pg.pool.open_pool`."""

    @asynccontextmanager
    async def open_pool(
        settings: Any, *, name: str, login: Any = None, reach: Reachability | None = None
    ) -> AsyncIterator[Pool]:
        del login
        while not server.is_up:
            await asyncio.sleep(0.1)
        watch = asyncio.create_task(_watch(server, reach or Reachability()))
        try:
            yield Pool(server, name, settings.postgres_pool_max)
        finally:
            watch.cancel()

    return open_pool


async def _watch(server: Server, reach: Reachability) -> None:
    """Ask on a new connection whether the database answers, when somebody wants to know."""
    while True:
        if not await reach.wait_for_probe():
            continue
        reach.begin_probe()
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                await Connection(server).execute("SELECT 1")
        except (asyncpg.PostgresError, TimeoutError):
            reach.record_probe(is_answered=False)
        else:
            reach.record_probe(is_answered=True)
