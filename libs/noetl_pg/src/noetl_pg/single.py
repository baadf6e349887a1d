"""One connection for a few statements, which fails at once, where a pool would wait."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import urlsplit

import asyncpg
from noetl_common.errors import Permanent

from noetl_pg.database import Database
from noetl_pg.errors import DatabaseUnavailable, DataConflict, translate
from noetl_pg.settings import PostgresTls
from noetl_pg.sql.queries import Queries
from noetl_pg.tls import tls_of


class DatabaseUnreadable(Permanent):
    """The login may not read a table, or the table isn't there."""

    template = "the database does not let us read: {reason}"


class SchemaLacking(DatabaseUnreadable):
    """A table or column is missing: the schema is older, newer, or another program's."""

    template = "the database lacks what is read: {reason}"


class DatabaseSlow(DatabaseUnavailable):
    """The database accepts the login, but doesn't answer a statement in time."""

    template = "the database does not answer in time: {reason}"


_SLOW = (TimeoutError, asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError)


@asynccontextmanager
async def open_single(
    dsn: str, queries: Queries, *, name: str, seconds: float
) -> AsyncIterator[Database]:
    """Connect until the block ends.

    Args:
        dsn: address and login.
        queries: the statements.
        name: shown by the server.
        seconds: timeout of connecting, and of each statement.

    Raises:
        DatabaseUnavailable: no connection, a refused login, or a connection that has ended.
        DatabaseSlow: a statement took longer than that, or than the server allows.
        DatabaseUnreadable: the login may not read a table.
        SchemaLacking: a table or column isn't there.
    """
    with translate():
        pool = await asyncpg.create_pool(
            dsn,
            ssl=tls_of(PostgresTls(), urlsplit(dsn).hostname or ""),
            min_size=1,
            max_size=1,
            timeout=seconds,
            command_timeout=seconds,
            # Works behind a pooler too.
            statement_cache_size=0,
            server_settings={"application_name": name, "timezone": "UTC"},
        )
    try:
        with _explained(seconds), translate():
            yield Database(pool, queries)
    finally:
        pool.terminate()


@contextmanager
def _explained(seconds: float) -> Iterator[None]:
    """Raise errors for operators, with the cause, instead of those for retries of services."""
    try:
        yield
    except (DatabaseUnavailable, DataConflict) as error:
        if not isinstance(error.__cause__, _SLOW):
            raise
        reason = str(error.__cause__) or f"a statement took longer than {seconds:g} s"
        raise DatabaseSlow(reason=reason) from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise DatabaseUnreadable(reason=str(error)) from error
    except (
        asyncpg.UndefinedTableError,
        asyncpg.InvalidSchemaNameError,
        asyncpg.UndefinedColumnError,
    ) as error:
        raise SchemaLacking(reason=str(error)) from error


async def is_there(dsn: str, *, name: str, seconds: float) -> bool:
    """Return whether a server has the database of an address; it shows ``name`` meanwhile.

    Raises:
        DatabaseUnavailable: no connection, a refused login, or no answer in time.
    """
    try:
        with translate():
            connection = await asyncpg.connect(
                dsn,
                ssl=tls_of(PostgresTls(), urlsplit(dsn).hostname or ""),
                timeout=seconds,
                server_settings={"application_name": name},
            )
    except DatabaseUnavailable as error:
        if isinstance(error.__cause__, asyncpg.InvalidCatalogNameError):
            return False
        raise
    connection.terminate()
    return True


@asynccontextmanager
async def hold_snapshot(dsn: str, *, name: str, seconds: float) -> AsyncIterator[str]:
    """Hold a snapshot of a database until the block ends, and yield its name for sharing it.

    Args:
        dsn: address and login, not of a pooler.
        name: shown by the server.
        seconds: timeout of connecting, and of taking the view.

    Raises:
        DatabaseUnavailable: no connection, a refused login, or no answer in time.
    """
    with translate():
        connection = await asyncpg.connect(
            dsn,
            ssl=tls_of(PostgresTls(), urlsplit(dsn).hostname or ""),
            timeout=seconds,
            command_timeout=seconds,
            statement_cache_size=0,
            # The transaction stands still for as long as others read by it.
            server_settings={"application_name": name, "idle_in_transaction_session_timeout": "0"},
        )
    try:
        with translate():
            await connection.execute(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY /* hold_snapshot */"
            )
            snapshot: str = await connection.fetchval(
                "SELECT pg_export_snapshot() /* export_snapshot */"
            )
        yield snapshot
    finally:
        connection.terminate()
