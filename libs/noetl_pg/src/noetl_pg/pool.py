"""The connection pool, waited for; JSON and times as Python values."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sized
from contextlib import asynccontextmanager, suppress
from functools import partial
from time import monotonic
from typing import Any

import asyncpg
import orjson
from asyncpg.protocol import protocol
from noetl_common.errors import Permanent
from noetl_common.logging import get_logger
from noetl_common.logins import Login, LoginSource
from noetl_common.metrics import counter, gauge

from noetl_pg.errors import translated
from noetl_pg.login import file_login
from noetl_pg.settings import PostgresSettings
from noetl_pg.tls import tls_of
from noetl_pg.watch import Reach, Watch, WatchedConnection

type Pool = asyncpg.Pool[asyncpg.Record]
type Connection = asyncpg.Connection[asyncpg.Record]
type _Connect = Callable[..., Coroutine[Any, Any, Any]]
type PooledConnection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

_USED = gauge("noetl_db_connections_used", "Connections at work, by pool.", ("pool",))
_MOST = gauge("noetl_db_connections_max", "Most connections that a pool may have.", ("pool",))
_LOGINS = counter(
    "noetl_db_logins_renewed_total", "Logins read anew after the database refused one."
)
_log = get_logger()
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_CLOSE_SECONDS = 5.0
# A password is changed at the database and in its source one after the other.
_REFUSED_SECONDS = 60.0
_SCHEMA_PAUSE_SECONDS = 0.25
_JSONB_VERSION = b"\x01"
_NO_SCHEMA = "there is none yet"
_OLDER_SCHEMA = "there is an older one"

# The driver asks of every element of every array whether it is an array in its turn, and asks an
# abstract class, which is dear: of all that a commit of the orchestrator costs in Python this was a
# tenth. Concrete classes answer the same for whatever we pass.
_TRIED = frozenset({"0.32.0"})
_ARRAYS: tuple[type, ...] = (
    *(list, tuple, set, frozenset, deque, range),
    *map(type, ({}.keys(), {}.values())),
)
_ASKED = {"IterableABC": Iterable, "SizedABC": Sized}

READ_CLOSED = """
SELECT coalesce(obj_description(n.oid, 'pg_namespace'), 'no reason is given') /* read_closed */
FROM pg_namespace AS n WHERE n.nspname = 'noetl_closed'
"""
"""Query of the reason for which the database is closed to services; no row when it is open. Any
login may run it."""


class DatabaseRefused(Permanent):
    """The database refuses the login; waiting doesn't help."""

    template = "the database refuses the login of {user}: {reason}"


@asynccontextmanager
async def open_pool(
    settings: PostgresSettings,
    *,
    name: str,
    login: LoginSource | None = None,
    reach: Reach | None = None,
) -> AsyncIterator[Pool]:
    """Open a pool, waiting until the server and the database are there.

    ``jsonb`` and ``json`` are Python values both ways: pass values that ``orjson`` can dump. For
    JSON that is text already pass ``text[]`` and cast in SQL, or select ``column::text``.
    Timestamps with time zone are aware UTC.

    Args:
        settings: the database.
        name: shown by the server, and in metrics.
        login: asked for each new connection, and again when one is refused; that of the settings
            unless given, whose file is read anew if the password is in one.
        reach: is kept up to date while the pool is open.

    Raises:
        DatabaseRefused: wrong role or password.
    """
    _choose_array_classes(shortcuts=settings.shortcuts)
    login = login or file_login(settings)
    reach = reach or Reach()
    asking = partial(asyncpg.connect, **_address(settings, name), statement_cache_size=0)
    watch = Watch(name, asking, reach, login)
    connect = asyncpg.connect if login is None else _connecting(login, name)
    connect = _doubting(connect, reach)
    pool = await _waited_for(settings, name, connect, watch, is_renewed=login is not None)
    watching = asyncio.create_task(watch.run(), name=f"{name}: pool watch")
    used = _USED.labels(name)
    used.set_function(lambda: pool.get_size() - pool.get_idle_size())
    _MOST.labels(name).set(pool.get_max_size())
    try:
        yield pool
    finally:
        used.set_function(lambda: 0)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await pool.close()
        except TimeoutError:
            _log.warning("pool_closed_by_force", pool=name)
            pool.terminate()


@asynccontextmanager
async def lent(pool: Pool) -> AsyncIterator[PooledConnection]:
    """Borrow a connection for the block; after an error it is checked before others get it."""
    connection = await pool.acquire()
    try:
        yield connection
    except BaseException:
        await give_back_unsure(pool, connection)
        raise
    await pool.release(connection)


async def give_back_unsure(pool: Pool, connection: PooledConnection) -> None:
    """Release a connection whose statement failed, and close it if it no longer answers."""
    try:
        await connection.reset(timeout=_CLOSE_SECONDS)
    except Exception as error:  # noqa: BLE001 -- whatever is wrong with it, it is of no use
        _log.info("connection_dropped", error=f"{type(error).__name__}: {error}")
        with suppress(asyncpg.InterfaceError):
            connection.terminate()
    finally:
        await pool.release(connection)


async def wait_for_schema(pool: Pool, minimum: str) -> None:
    """Wait until the migration ``minimum`` (``"0002"``) or a later one was applied.

    Wait also while the database is closed: an operator's command closes it while it replaces or
    moves the content, and leaves it closed when it is killed (O8).
    """
    waited: str | None = None
    while (reason := await _reason_to_wait(pool, minimum)) is not None:
        if waited != reason:
            log = _log.info if reason in {_NO_SCHEMA, _OLDER_SCHEMA} else _log.warning
            log("waiting_for_schema", minimum=minimum, reason=reason)
            waited = reason
        await asyncio.sleep(_SCHEMA_PAUSE_SECONDS)


async def _reason_to_wait(pool: Pool, minimum: str) -> str | None:
    try:
        closed = await pool.fetchval(READ_CLOSED)
        if closed is not None:
            return f"the database is closed: {closed}"
        found = await pool.fetchval(
            "SELECT EXISTS (SELECT FROM noetl.schema_migrations WHERE version >= $1)"
            " /* has_migration */",
            minimum,
        )
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return _NO_SCHEMA
    except Exception as error:
        # The rights come with the migrations.
        is_denied = isinstance(error, asyncpg.InsufficientPrivilegeError)
        if not is_denied and translated(error) is None:
            raise
        return f"not readable: {error}"
    return None if found else _OLDER_SCHEMA


async def _waited_for(
    settings: PostgresSettings, name: str, connect: _Connect, watch: Watch, *, is_renewed: bool
) -> Pool:
    pause = _FIRST_PAUSE_SECONDS
    until = monotonic() + (_REFUSED_SECONDS if is_renewed else 0.0)
    while True:
        try:
            return await _opened(settings, name, connect, watch)
        except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError) as e:
            if monotonic() >= until:
                raise DatabaseRefused(user=settings.postgres_user, reason=str(e)) from e
            _log.warning("waiting_for_login", error=str(e))
        except Exception as error:
            ours = translated(error)
            if ours is None:
                raise
            _log.warning("waiting_for_database", error=ours.message)
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


def _choose_array_classes(*, shortcuts: bool) -> None:
    """Set the classes that the driver checks arrays against, if its release was tried with that."""
    if asyncpg.__version__ in _TRIED:
        for name, own in _ASKED.items():
            setattr(protocol, name, _ARRAYS if shortcuts else own)


async def _opened(settings: PostgresSettings, name: str, connect: _Connect, watch: Watch) -> Pool:
    return await asyncpg.create_pool(
        connect=connect,
        **_address(settings, name),
        # One connection shows whether the server is there, even if none has to be kept.
        min_size=min(max(1, settings.postgres_pool_min), settings.postgres_pool_max),
        max_size=settings.postgres_pool_max,
        timeout=settings.postgres_connect_timeout_seconds,
        command_timeout=settings.postgres_command_timeout_seconds,
        statement_cache_size=settings.postgres_statement_cache,
        connection_class=WatchedConnection,
        init=partial(_prepare, watch),
        reset=_keep_session,
    )


def _address(settings: PostgresSettings, name: str) -> dict[str, Any]:
    """Return arguments of a connection: where it leads to, and as whom."""
    return {
        "host": settings.postgres_host,
        "port": settings.postgres_port,
        "user": settings.postgres_user,
        "password": settings.postgres_password.get_secret_value(),
        "database": settings.postgres_db,
        "ssl": tls_of(settings, settings.postgres_host),
        "server_settings": {"application_name": name, "timezone": "UTC"},
    }


def _connecting(login: LoginSource, name: str) -> _Connect:
    """Return a connect function that tries the current login, then a renewed one if refused."""

    async def connect(*arguments: Any, **options: Any) -> Connection:
        async def with_login(one: Login) -> Connection:
            return await asyncpg.connect(
                *arguments, **{**options, "user": one.user, "password": one.password}
            )

        tried = await login.current()
        try:
            return await with_login(tried)
        except asyncpg.InvalidAuthorizationSpecificationError:
            # The class of wrong passwords, too.
            other = await login.after_refusal(tried)
            if other == tried:
                raise
            connection = await with_login(other)
        _LOGINS.inc()
        _log.info("database_login_renewed", pool=name)
        return connection

    return connect


def _doubting(connect: _Connect, reach: Reach) -> _Connect:
    """Return a connect function whose failures have the database asked."""

    async def connecting(*arguments: Any, **options: Any) -> Connection:
        try:
            connection: Connection = await connect(*arguments, **options)
        except Exception:
            reach.ask()
            raise
        return connection

    return connecting


async def _prepare(watch: Watch, connection: WatchedConnection) -> None:
    watch.connections.add(connection)
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=_encode_jsonb, decoder=_decode_jsonb, format="binary"
    )
    await connection.set_type_codec(
        "json", schema="pg_catalog", encoder=_dump, decoder=orjson.loads, format="binary"
    )


async def _keep_session(_connection: Connection) -> None:
    """Spare the round trip that resets a session after each statement.

    No service changes its session: settings are local to a transaction, and locks of the session
    and LISTEN are not used. An open transaction has been rolled back before this is called. A
    connection whose statement failed is reset by `give_back_unsure`.
    """


def _dump(value: Any) -> bytes:
    return orjson.dumps(value)


def _encode_jsonb(value: Any) -> bytes:
    return _JSONB_VERSION + orjson.dumps(value)


def _decode_jsonb(data: bytes) -> Any:
    return orjson.loads(memoryview(data)[1:])
