"""The connection pool: waits for the database, and converts JSON and times to Python values."""

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
from noetl_pg.watch import Reachability, Watch, WatchedConnection

type Pool = asyncpg.Pool[asyncpg.Record]
type Connection = asyncpg.Connection[asyncpg.Record]
type _Connect = Callable[..., Coroutine[Any, Any, Any]]
type PooledConnection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

_USED = gauge("noetl_db_connections_used", "Connections in use, by pool.", ("pool",))
_MOST = gauge("noetl_db_connections_max", "Maximum size of the pool.", ("pool",))
_LOGINS = counter(
    "noetl_db_logins_renewed_total", "Logins that were renewed after the database refused one."
)
_log = get_logger()
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_CLOSE_SECONDS = 5.0
# An operator changes a password first in the database and then in its source, or in reverse order.
_REFUSED_SECONDS = 60.0
_SCHEMA_PAUSE_SECONDS = 0.25
_JSONB_VERSION = b"\x01"
_NO_SCHEMA = "there is none yet"
_OLDER_SCHEMA = "there is an older one"

# For every element of an array, the driver checks whether it is an array itself, with abstract
# classes. This check took a tenth of the Python time of an orchestrator's commit. Concrete classes
# give the same result for all types that services pass.
_TESTED_VERSIONS = frozenset({"0.32.0"})
_ARRAYS: tuple[type, ...] = (
    *(list, tuple, set, frozenset, deque, range),
    *map(type, ({}.keys(), {}.values())),
)
_ABSTRACT = {"IterableABC": Iterable, "SizedABC": Sized}

READ_CLOSED = """
SELECT coalesce(obj_description(n.oid, 'pg_namespace'), 'no reason is given') /* read_closed */
FROM pg_namespace AS n WHERE n.nspname = 'noetl_closed'
"""
"""Query of the reason why the database is closed to services; no row if it is open. Any login may
run it."""


class DatabaseRefused(Permanent):
    """The database refuses the login, which a retry doesn't fix."""

    template = "the database refuses the login of {user}: {reason}"


@asynccontextmanager
async def open_pool(
    settings: PostgresSettings,
    *,
    name: str,
    login: LoginSource | None = None,
    reach: Reachability | None = None,
) -> AsyncIterator[Pool]:
    """Wait for the database and open a pool.

    ``jsonb`` and ``json`` are converted from and to Python values; pass values that ``orjson`` can
    encode. For JSON text, pass ``text[]`` and cast it in SQL, or select ``column::text``.
    Timestamps with time zone are aware, in UTC.

    Args:
        settings: the database.
        name: name of the client, shown by the server and in metrics.
        login: source of the login of each new connection, by default the settings. A password file
            is read again for each connection.
        reach: is updated while the pool is open.

    Raises:
        DatabaseRefused: wrong role or password.
    """
    _choose_array_classes(shortcuts=settings.shortcuts)
    login = login or file_login(settings)
    reach = reach or Reachability()
    probing = partial(asyncpg.connect, **_address(settings, name), statement_cache_size=0)
    watch = Watch(name, probing, reach, login)
    connect = asyncpg.connect if login is None else _with_login(login, name)
    connect = _with_probe(connect, reach)
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
async def borrowed(pool: Pool) -> AsyncIterator[PooledConnection]:
    """Borrow a connection for the block; after an error, check it before the next use."""
    connection = await pool.acquire()
    try:
        yield connection
    except BaseException:
        await release_checked(pool, connection)
        raise
    await pool.release(connection)


async def release_checked(pool: Pool, connection: PooledConnection) -> None:
    """Release a connection whose statement failed, and close it if it no longer answers."""
    try:
        await connection.reset(timeout=_CLOSE_SECONDS)
    except Exception as error:  # noqa: BLE001 -- after any error, the connection is unusable
        _log.info("connection_dropped", error=f"{type(error).__name__}: {error}")
        with suppress(asyncpg.InterfaceError):
            connection.terminate()
    finally:
        await pool.release(connection)


async def wait_for_schema(pool: Pool, minimum: str) -> None:
    """Wait until the migration ``minimum`` (``"0002"``) or a later one is applied.

    Also wait while the database is closed: an operator's command closes it to replace or move its
    content. If the command is killed, the database stays closed (O8).
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
        # A denied query is no error yet: the migrations grant the rights.
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
            cause = translated(error)
            if cause is None:
                raise
            _log.warning("waiting_for_database", error=cause.message)
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


def _choose_array_classes(*, shortcuts: bool) -> None:
    """Set the classes with which the driver recognises arrays, in releases tested with this."""
    if asyncpg.__version__ in _TESTED_VERSIONS:
        for name, original in _ABSTRACT.items():
            setattr(protocol, name, _ARRAYS if shortcuts else original)


async def _opened(settings: PostgresSettings, name: str, connect: _Connect, watch: Watch) -> Pool:
    return await asyncpg.create_pool(
        connect=connect,
        **_address(settings, name),
        # At least one connection is opened, to wait for the server.
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
    """Return the arguments of a connection: its address, login and session settings."""
    return {
        "host": settings.postgres_host,
        "port": settings.postgres_port,
        "user": settings.postgres_user,
        "password": settings.postgres_password.get_secret_value(),
        "database": settings.postgres_db,
        "ssl": tls_of(settings, settings.postgres_host),
        "server_settings": {"application_name": name, "timezone": "UTC"},
    }


def _with_login(source: LoginSource, name: str) -> _Connect:
    """Return a connect function that renews the login if the database refuses it."""

    async def connect(*arguments: Any, **options: Any) -> Connection:
        async def connect_as(login: Login) -> Connection:
            return await asyncpg.connect(
                *arguments, **{**options, "user": login.user, "password": login.password}
            )

        current = await source.current()
        try:
            return await connect_as(current)
        except asyncpg.InvalidAuthorizationSpecificationError:
            # This is also the base class of the error for a wrong password.
            renewed = await source.after_refusal(current)
            if renewed == current:
                raise
            connection = await connect_as(renewed)
        _LOGINS.inc()
        _log.info("database_login_renewed", pool=name)
        return connection

    return connect


def _with_probe(connect: _Connect, reach: Reachability) -> _Connect:
    """Return a connect function that requests a probe of the database after a failure."""

    async def connecting(*arguments: Any, **options: Any) -> Connection:
        try:
            connection: Connection = await connect(*arguments, **options)
        except Exception:
            reach.probe_now()
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
    """Do nothing, in place of the round trip that resets a session after each use.

    No service changes its session: settings are local to a transaction, and services use neither
    session locks nor LISTEN. Open transactions are rolled back before this call. `release_checked`
    resets a connection after an error.
    """


def _dump(value: Any) -> bytes:
    return orjson.dumps(value)


def _encode_jsonb(value: Any) -> bytes:
    return _JSONB_VERSION + orjson.dumps(value)


def _decode_jsonb(data: bytes) -> Any:
    return orjson.loads(memoryview(data)[1:])
