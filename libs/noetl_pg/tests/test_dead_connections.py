"""Connections to the database that die without a word, and statements that only take long."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn, cast

import asyncpg
import pytest
import uvloop
from noetl_common.logins import Login, LoginUnreadable
from noetl_common.traffic import Traffic
from noetl_pg.database import Database as Statements
from noetl_pg.errors import DatabaseUnavailable
from noetl_pg.pool import Pool, borrowed, open_pool
from noetl_pg.settings import PostgresSettings
from noetl_pg.watch import Reachability, Watch
from noetl_testkit.lines import Line, line_to
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually, unless_it_hangs

_NEVER = 3600.0


@asynccontextmanager
async def pool_over_a_line(
    database: Database, most: int = 3, reach: Reachability | None = None
) -> AsyncIterator[tuple[Pool, Line]]:
    """Open a pool over a line; its own timeout of statements is of no help."""
    async with line_to(database.address.port) as line:
        settings = PostgresSettings.model_validate(
            {
                **database.settings,
                "postgres_port": line.port,
                "postgres_pool_max": most,
                "postgres_command_timeout_seconds": _NEVER,
            }
        )
        async with open_pool(settings, name="dead", reach=reach) as pool:
            yield pool, line


async def fill(pool: Pool, number: int) -> None:
    """Have so many connections."""
    connections = [await pool.acquire() for _ in range(number)]
    for connection in connections:
        await pool.release(connection)


async def test_a_statement_on_a_connection_that_died_fails_and_the_next_are_answered(
    empty_database: Database,
) -> None:
    """The other connections died at the same time: none of them has to be found out by itself."""
    async with pool_over_a_line(empty_database) as (pool, line):
        statements = Statements(pool)
        await fill(pool, 3)

        line.cut()
        async with unless_it_hangs():
            with pytest.raises(DatabaseUnavailable):
                await statements.execute_text("SELECT 1")
            after = await asyncio.gather(*(statements.execute_text("SELECT 1") for _ in range(3)))

        assert after == ["SELECT 1"] * 3


@pytest.mark.parametrize("script", ["BEGIN", "SELECT $1::int"])
async def test_a_lost_answer_is_noticed_as_a_lost_statement_is(
    empty_database: Database, script: str
) -> None:
    """The server has ended the statement; in a transaction and outside."""
    async with pool_over_a_line(empty_database) as (pool, line), borrowed(pool) as connection:
        line.cut(only_answers=True)
        arguments = [1] if "$1" in script else []
        async with unless_it_hangs():
            with pytest.raises(Exception, match="connection was closed"):
                await connection.execute(script, *arguments)


async def test_a_statement_that_takes_long_is_left_alone(empty_database: Database) -> None:
    async with pool_over_a_line(empty_database) as (pool, line), borrowed(pool) as holder:
        await holder.execute("SELECT pg_advisory_lock(1)")
        long = asyncio.create_task(pool.fetchval("SELECT 7 FROM pg_advisory_lock($1)", 1))
        await eventually(lambda: pool.get_size() == 2)
        made = line.made
        await eventually(lambda: line.made >= made + 3)  # the server was asked twice at least

        await holder.execute("SELECT pg_advisory_unlock(1)")
        async with unless_it_hangs():
            assert await long == 7


async def test_a_server_that_nobody_reaches_keeps_its_connections(
    empty_database: Database,
) -> None:
    """Whether a statement is lost is not known then."""
    async with pool_over_a_line(empty_database) as (pool, line), borrowed(pool) as holder:
        await holder.execute("SELECT pg_advisory_lock(1)")
        waiting = asyncio.create_task(pool.fetchval("SELECT 7 FROM pg_advisory_lock($1)", 1))
        await eventually(lambda: pool.get_size() == 2)
        line.is_open = False
        made = line.made
        await eventually(lambda: line.made >= made + 2)

        await holder.execute("SELECT pg_advisory_unlock(1)")
        async with unless_it_hangs():
            assert await waiting == 7


@pytest.mark.slow
async def test_a_statement_that_is_still_sent_is_left_alone(empty_database: Database) -> None:
    """The server is at rest meanwhile, as it has not read all of it."""
    async with pool_over_a_line(empty_database) as (pool, line), borrowed(pool) as connection:
        await connection.fetchval("SELECT length($1::text)", "")
        line.bytes_a_second = 1 << 20
        sent = asyncio.create_task(connection.fetchval("SELECT length($1::text)", "x" * (6 << 20)))
        async with unless_it_hangs():
            assert await sent == 6 << 20


async def test_a_connection_that_is_held_up_for_a_while_is_left_alone(
    empty_database: Database,
) -> None:
    """As in a gap of the network: new ones pass before TCP has sent anew what was lost."""
    reach = Reachability(last_seconds=PATIENCE_SECONDS)
    async with (
        pool_over_a_line(empty_database, reach=reach) as (pool, line),
        borrowed(pool) as connection,
    ):
        made = line.made
        line.hold()
        waiting = asyncio.create_task(connection.fetchval("SELECT 7"))
        await eventually(lambda: line.made > made)
        await asyncio.sleep(1.0)
        line.hold(is_held=False)
        async with unless_it_hangs():
            assert await waiting == 7


class Unreadable:
    """A login whose source is away, such as the catalog."""

    def __init__(self) -> None:
        self.asked = 0

    async def current(self) -> Login:
        self.asked += 1
        raise LoginUnreadable("the catalog does not answer")

    async def after_refusal(self, refused: Login) -> NoReturn:
        raise AssertionError(refused)


class Waiting:
    """A connection whose statement waits."""

    begun = 1
    is_waiting = True
    traffic = Traffic(1, 1)


async def asked_thrice(watch: Watch, reach: Reachability, asked: Callable[[], int]) -> None:
    """Have a watch ask until two questions at least have ended."""

    def are_enough() -> bool:
        reach.probe_now()
        return asked() >= 3

    running = asyncio.create_task(watch.run())
    await eventually(are_enough)
    assert not running.done()
    running.cancel()
    await asyncio.wait([running])


async def test_a_login_that_cannot_be_read_says_nothing_about_the_database() -> None:
    reach, login = Reachability(), Unreadable()

    async def connect(**_login: str) -> NoReturn:
        raise AssertionError

    await asked_thrice(Watch("login", connect, reach, login), reach, lambda: login.asked)

    assert not reach.is_doubtful
    assert not reach.failed_since(float("-inf"))


@pytest.mark.parametrize(
    ("error", "is_outage"),
    [
        (asyncpg.TooManyConnectionsError("too many clients"), False),
        (asyncpg.PostgresSystemError("disk"), False),
        (asyncpg.InvalidPasswordError("wrong"), False),
        (asyncpg.CannotConnectNowError("the database system is starting up"), True),
        (asyncpg.ConnectionDoesNotExistError("closed"), True),
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (RuntimeError("as no one expects it"), False),
    ],
)
async def test_what_a_server_that_works_says_is_no_outage(
    error: Exception, *, is_outage: bool
) -> None:
    reach = Reachability()
    questions = 0

    async def connect() -> NoReturn:
        nonlocal questions
        questions += 1
        raise error

    await asked_thrice(Watch("said", connect, reach), reach, lambda: questions)

    assert reach.failed_since(float("-inf")) == is_outage
    assert reach.is_doubtful == is_outage


async def test_a_database_that_is_not_there_is_no_outage(empty_database: Database) -> None:
    reach = Reachability(answer_seconds=PATIENCE_SECONDS)
    settings = {**empty_database.settings}
    questions = 0

    async def connect() -> Any:
        nonlocal questions
        questions += 1
        return await asyncpg.connect(
            host=str(settings["postgres_host"]),
            port=empty_database.address.port,
            user=str(settings["postgres_user"]),
            password=str(settings["postgres_password"]),
            database="nobody_made_it",
        )

    await asked_thrice(Watch("none", connect, reach), reach, lambda: questions)

    assert not reach.failed_since(float("-inf"))


async def test_one_look_that_fails_is_not_the_last() -> None:
    class Broken:
        looks = 0

        @property
        def is_waiting(self) -> bool:
            Broken.looks += 1
            raise RuntimeError("as no one expects it")

    async def connect() -> NoReturn:
        raise AssertionError

    reach, broken = Reachability(), cast("Any", Broken())
    watch = Watch("broken", cast("Callable[..., Awaitable[Any]]", connect), reach)
    watch.connections.add(broken)

    await asked_thrice(watch, reach, lambda: Broken.looks)


async def test_a_statement_is_no_suspect_before_its_time_though_somebody_asks() -> None:
    async def connect() -> NoReturn:
        raise AssertionError

    now = 1000.0
    reach, waiting = Reachability(lambda: now), cast("Any", Waiting())
    watch = Watch("asked", connect, reach)
    watch.connections.add(waiting)
    assert watch._find_suspects() == {}
    now += 0.25
    assert watch._find_suspects() == {}
    now += 0.75
    assert set(watch._find_suspects()) == {waiting}


@pytest.mark.slow
def test_on_the_loop_of_the_services_one_after_the_other_is_closed(
    empty_database: Database,
) -> None:
    """Of a closed connection it says other things than the loop of the tests."""

    async def lose_two() -> None:
        async with pool_over_a_line(empty_database) as (pool, line):
            statements = Statements(pool)
            for _ in range(2):
                await fill(pool, 3)
                line.cut()
                async with unless_it_hangs():
                    with pytest.raises(DatabaseUnavailable):
                        await statements.execute_text("SELECT 1")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(lose_two())
