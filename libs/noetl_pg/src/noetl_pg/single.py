"""One connection for a few statements; unlike a pool, it doesn't wait for the database."""

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
    """The login has no right to read a table, or the table doesn't exist."""

    template = "the database refuses the read: {reason}"


class SchemaLacking(DatabaseUnreadable):
    """A table or column is missing: the schema has another version, or is of another program."""

    template = "the database lacks a table or column: {reason}"


class DatabaseSlow(DatabaseUnavailable):
    """The database accepts the login, but a statement times out."""

    template = "the database does not answer in time: {reason}"


_SLOW = (TimeoutError, asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError)


@asynccontextmanager
async def open_single(
    dsn: str, queries: Queries, *, name: str, seconds: float
) -> AsyncIterator[Database]:
    """Open a connection until the block ends.

    Args:
        dsn: address and login.
        queries: the statements.
        name: name of the client, shown by the server.
        seconds: timeout of connecting, and of each statement.

    Raises:
        DatabaseUnavailable: the connection failed or was lost, or the login was refused.
        DatabaseSlow: a statement exceeded ``seconds``, or a timeout of the server.
        DatabaseUnreadable: the login has no right to read a table.
        SchemaLacking: a table or column is missing.
    """
    with translate():
        pool = await asyncpg.create_pool(
            dsn,
            ssl=tls_of(PostgresTls(), urlsplit(dsn).hostname or ""),
            min_size=1,
            max_size=1,
            timeout=seconds,
            command_timeout=seconds,
            # A transaction pooler doesn't support prepared statements.
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
    """Raise errors that name the cause for an operator, instead of errors for retries."""
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
    """Return whether the database of an address exists.

    Raises:
        DatabaseUnavailable: the connection failed or timed out, or the login was refused.
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
    """Hold a snapshot of a database until the block ends; yield its name, so that it can be shared.

    Args:
        dsn: address and login of a server, not of a pooler.
        name: name of the client, shown by the server.
        seconds: timeout of connecting, and of exporting the snapshot.

    Raises:
        DatabaseUnavailable: the connection failed or timed out, or the login was refused.
    """
    with translate():
        connection = await asyncpg.connect(
            dsn,
            ssl=tls_of(PostgresTls(), urlsplit(dsn).hostname or ""),
            timeout=seconds,
            command_timeout=seconds,
            statement_cache_size=0,
            # The transaction is idle while other connections read the snapshot.
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
