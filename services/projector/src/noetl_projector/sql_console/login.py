"""The role under which statements of the SQL route run on the service's own server.

Statements run as a role that may read what `noetl_shown` shows and nothing else, created when it
is first needed. It is a login of its own, so no setting or statement leads back to the service's
role, which reads secrets and may be a superuser, whom a read-only transaction does not keep from
files and programs.
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger

from noetl_projector.settings import Settings
from noetl_projector.sql_console.shown import shown_path

type Connection = asyncpg.Connection[asyncpg.Record]

_log = get_logger()
_SUFFIX = "_sql_console"
_LONGEST_NAME = 63
_SALT_BYTES = 16
_ITERATIONS = 4096
_TRIES = 5

_SEARCH_PATH = """
SELECT replace(current_setting('search_path'), '"$user"', quote_ident(session_user))
/* search_path */
"""
_FIND_ROLE = "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $1) /* find_role */"
_STATEMENTS = """
SELECT ARRAY[
    format(
        '%s ROLE %I LOGIN NOCREATEDB NOCREATEROLE%s PASSWORD %L',
        CASE WHEN $3::BOOLEAN THEN 'ALTER' ELSE 'CREATE' END,
        $1::TEXT,
        CASE WHEN current_setting('is_superuser') = 'on'
            THEN ' NOSUPERUSER NOREPLICATION NOBYPASSRLS' ELSE '' END,
        $2::TEXT
    )
] /* statements_of_reader */
"""
_HAS_VIEWS = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'noetl_shown') /* has_views */
"""
_IS_LET = """
SELECT coalesce(bool_and(has_schema_privilege(oid, 'USAGE')), true)
FROM pg_catalog.pg_namespace
WHERE nspname = 'noetl_shown'
/* is_let_read */
"""
_LET = "SELECT noetl_shown.let_read($1) /* let_read */"


@dataclass(frozen=True, slots=True)
class Login:
    """A role and its password."""

    user: str
    password: str = field(repr=False)


class RoleMissing(NoetlError):
    """There is no role for statements, and the service may not make one."""

    template = (
        "The SQL route needs a role that reads what noetl_shown shows, and this service may not "
        "make one: NOETL_SQL_CONSOLE_USER names it ({reason})"
    )
    http_status = 503


class ConsoleLogin:
    """Connections to the service's own server for statements of clients."""

    def __init__(self, settings: Settings) -> None:
        password = settings.sql_console_password or settings.postgres_password
        self.own = Login(
            settings.sql_console_user or settings.postgres_user, password.get_secret_value()
        )
        # With a configured role, or with writes allowed, the operator has chosen the rights.
        is_decided = bool(settings.sql_console_user) or settings.sql_console_writes
        self._chosen = self.own if is_decided else None
        self._search_path = ""

    @property
    def search_path(self) -> str:
        """The search path of statements; empty for the server's default.

        Known once there is a connection. Set in the transaction of each statement: a pooler takes
        no such parameter of a connection.
        """
        return self._search_path

    async def connect(self, *args: Any, **arguments: Any) -> Connection:
        """Connect as the role for statements; arguments as of ``asyncpg.connect`` without login.

        Raises:
            asyncpg.PostgresError: the server refuses the login.
        """
        if self._chosen is not None:
            return await _connected(self._chosen, *args, **arguments)
        if not self._search_path:
            own = await _connected(self.own, *args, **arguments)
            try:
                # The names of the service's own schema go on to need no schema before them.
                self._search_path = shown_path(await own.fetchval(_SEARCH_PATH))
            finally:
                await own.close()
        return await self._connect_reader(reader_of(self.own), *args, **arguments)

    async def _connect_reader(self, reader: Login, *args: Any, **arguments: Any) -> Connection:
        for left in reversed(range(_TRIES)):
            connection = None
            try:
                connection = await _connected(reader, *args, **arguments)
                if await connection.fetchval(_IS_LET):
                    return connection
                await connection.close()
            except asyncpg.InvalidAuthorizationSpecificationError:
                if not left:
                    raise
            except BaseException:
                if connection is not None:
                    connection.terminate()
                raise
            own = await _connected(self.own, *args, **arguments)
            try:
                await _make(own, reader, is_there=connection is not None)
            except (
                asyncpg.UniqueViolationError,
                asyncpg.DuplicateObjectError,
                asyncpg.InternalServerError,  # "tuple concurrently updated"
            ) as error:
                # A replica creates the role just now; roles belong to the server, not a database.
                _log.info("sql_reader_made_by_others", error=str(error))
            except asyncpg.InsufficientPrivilegeError as error:
                raise RoleMissing(reason=str(error)) from error
            finally:
                await own.close()
        raise AssertionError("the last try returns or raises")


def reader_of(own: Login) -> Login:
    """Return the read-only role of the service; all replicas derive the same password."""
    name = own.user[: _LONGEST_NAME - len(_SUFFIX)] + _SUFFIX
    password = hmac.digest(own.password.encode(), name.encode(), "sha256").hex()
    return Login(name, password)


async def _make(own: Connection, reader: Login, *, is_there: bool) -> None:
    """Create the role, or correct it, and let it read what this database shows."""
    async with own.transaction():
        if not is_there:
            # The server may log the statement: it gets the verifier, never the password.
            statements = await own.fetchval(
                _STATEMENTS,
                reader.user,
                _verifier(reader.password),
                await own.fetchval(_FIND_ROLE, reader.user),
            )
            for statement in statements:
                await own.execute(statement)
        if await own.fetchval(_HAS_VIEWS):
            await own.fetchval(_LET, reader.user)


async def _connected(login: Login, *args: Any, **arguments: Any) -> Connection:
    wanted = arguments | {"user": login.user, "password": login.password}
    connection: Connection = await asyncpg.connect(*args, **wanted)
    return connection


def _verifier(password: str) -> str:
    """Return the verifier that PostgreSQL stores for a password (SCRAM, RFC 5803)."""
    salt = secrets.token_bytes(_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    texts = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{texts[0]}${texts[1]}:{texts[2]}"
