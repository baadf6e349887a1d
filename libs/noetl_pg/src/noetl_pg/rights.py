"""Roles of the database, and their rights."""

from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import asyncpg
from noetl_common.errors import Permanent

from noetl_pg.errors import DatabaseUnavailable, translate
from noetl_pg.pool import READ_CLOSED, Pool
from noetl_pg.settings import PostgresTls
from noetl_pg.tls import tls_of

GRANT = "SELECT noetl.grant_to_services() /* grant_to_services */"
"""Statement that grants existing roles their rights; the login has to own the schema."""
_CONNECT_SECONDS = 30.0
# While a statement waits for a table lock, all later users of the table wait too. An operator can
# repeat the command.
_LIMITS = {"lock_timeout": "4s"}
_MISSING = """
SELECT r.table_name || ' (' || p.privilege || ')' AS missing
FROM noetl.service_rights() AS r
CROSS JOIN LATERAL unnest(string_to_array(r.privileges, ', ')) AS p (privilege)
WHERE r.role_name = $1::TEXT
    AND to_regclass('noetl.' || r.table_name) IS NOT NULL
    AND NOT has_table_privilege('noetl.' || r.table_name, p.privilege)
ORDER BY 1
/* missing_rights */
"""
_IS_KNOWN = "SELECT to_regprocedure('noetl.service_rights()') IS NOT NULL /* knows_rights */"
_MOST_NAMED = 5


class WrongRole(Permanent):
    """The role lacks rights that the service needs, which a retry doesn't fix."""

    template = (
        "the role {role} is not one for {service}: it lacks {missing}; noetl-server db-roles "
        "creates the roles and grants their rights"
    )


async def check_rights(pool: Pool, *, service: str, role: str) -> None:
    """Check that a role has the rights that a service needs.

    Raises:
        WrongRole: rights are missing; the text names them.
        Transient: the database can't answer now.
    """
    with translate():
        if not await pool.fetchval(_IS_KNOWN):
            return  # the schema is older than the roles
        rows = await pool.fetch(_MISSING, f"noetl_{service}")
    if rows:
        named = [row["missing"] for row in rows[:_MOST_NAMED]]
        more = f" and {len(rows) - _MOST_NAMED} more" if len(rows) > _MOST_NAMED else ""
        raise WrongRole(role=role, service=service, missing=", ".join(named) + more)


class RoleNotMade(Permanent):
    """The login has no right to create roles or to grant rights."""

    template = "{user} can't make the roles of the services or give them rights: {reason}"


class DatabaseClosed(Permanent):
    """An operator's command that replaces the content of the database has not ended (O8)."""

    template = "the database is closed: {reason}"


async def administer(
    dsn: str,
    *,
    name: str = "noetl-server",
    roles: Sequence[tuple[str, str]] = (),
    with_grants: bool = True,
    is_closed_by_caller: bool = False,
) -> None:
    """Create roles, and grant rights to all existing roles.

    Args:
        dsn: address of a migrated database; its login may create roles if any are given.
        name: name of the client, shown by the server.
        roles: for each role, a statement that creates it and a statement that corrects it.
        with_grants: whether to grant rights.
        is_closed_by_caller: whether a closed database is accepted, because the caller closed it.

    Raises:
        DatabaseClosed: an operator's command that has not ended has closed the database.
        RoleNotMade: the login has no right to do this.
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
            closed = None if is_closed_by_caller else await connection.fetchval(READ_CLOSED)
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
