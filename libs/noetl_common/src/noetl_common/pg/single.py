"""One connection for a few reads, which fails at once where a pool waits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg

from noetl_common.errors import Permanent
from noetl_common.pg.database import Database, Statements
from noetl_common.pg.errors import translate
from noetl_common.pg.queries import Queries
from noetl_common.pg.tls import tls_of
from noetl_common.settings import PostgresTls


class DatabaseUnreadable(Permanent):
    """The login may not read a table, or the table isn't there."""

    template = "the database does not let us read: {reason}"


@asynccontextmanager
async def open_single(
    dsn: str, queries: Queries, *, name: str, seconds: float
) -> AsyncIterator[Statements]:
    """Connect until the block ends.

    Args:
        dsn: address and login.
        queries: the statements.
        name: shown by the server.
        seconds: timeout of connecting, and of each statement.

    Raises:
        DatabaseUnavailable: no connection, a refused login, or no answer in time.
        DatabaseUnreadable: a table isn't there, or not for this login.
    """
    try:
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
                yield Database(pool, queries)
            finally:
                pool.terminate()
    except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedTableError) as error:
        raise DatabaseUnreadable(reason=str(error)) from error
    except (asyncpg.InvalidSchemaNameError, asyncpg.UndefinedColumnError) as error:
        raise DatabaseUnreadable(reason=str(error)) from error
