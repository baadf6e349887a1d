"""Administration of a database: roles, and their rights."""

from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import asyncpg
from noetl_common.errors import Permanent

from noetl_pg.errors import DatabaseUnavailable, translate
from noetl_pg.pool import READ_CLOSED
from noetl_pg.settings import PostgresTls
from noetl_pg.tls import tls_of

GRANT = "SELECT noetl.grant_to_services() /* grant_to_services */"
"""Gives the roles that exist their rights in a migrated database; the login owns the schema."""
_CONNECT_SECONDS = 30.0
# A wait for a table's lock blocks all later users of the table; a repetition does no harm.
_LIMITS = {"lock_timeout": "4s"}


class RoleNotMade(Permanent):
    """The login may not create roles or grant rights."""

    template = "{user} can't make the roles of the services or give them rights: {reason}"


class DatabaseClosed(Permanent):
    """An operator's command that replaces what the database holds has not ended (O8)."""

    template = "the database is closed: {reason}"


async def administer(
    dsn: str,
    *,
    name: str = "noetl-server",
    roles: Sequence[tuple[str, str]] = (),
    with_grants: bool = True,
    is_ours: bool = False,
) -> None:
    """Create roles, and grant the existing ones their rights.

    Args:
        dsn: address of a migrated database; the login may make roles, or there are none to make.
        name: shown by the server.
        roles: for each, a statement that creates it and a statement that corrects it.
        with_grants: whether to give the rights too.
        is_ours: whether the database may be closed, because the caller itself closed it.

    Raises:
        DatabaseClosed: it is closed by an operator's command that has not ended.
        RoleNotMade: the login may not.
        Transient: the database can't answer now.
    """
    host = urlsplit(dsn).hostname or ""
    with translate():
        connection = await asyncpg.connect(
            dsn,
            ssl=tls_of(PostgresTls(), host),
            timeout=_CONNECT_SECONDS,
            server_settings={**_LIMITS, "application_name": name},
        )
        try:
            closed = None if is_ours else await connection.fetchval(READ_CLOSED)
            if closed is not None:
                raise DatabaseClosed(reason=closed)
            for create, correct in roles:
                # An existing role may have another password.
                with suppress(asyncpg.DuplicateObjectError):
                    await connection.execute(create)
                await connection.execute(correct)
            if with_grants:
                await connection.execute(GRANT)
        except asyncpg.LockNotAvailableError as error:
            raise DatabaseUnavailable(reason=f"a table is in use ({error})") from error
        except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedFunctionError) as error:
            user = await connection.fetchval("SELECT session_user /* who_am_i */")
            raise RoleNotMade(user=user, reason=str(error)) from error
        finally:
            await connection.close()
