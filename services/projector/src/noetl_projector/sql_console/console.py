"""The SQL console: runs clients' statements with limits, on separate connections."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
from noetl_common.egress import Egress, EgressRefused
from noetl_common.errors import NoetlError
from noetl_contract.json import Json
from noetl_pg.errors import DatabaseUnavailable, translated
from noetl_pg.tls import tls_of

from noetl_projector.settings import Settings
from noetl_projector.sql_console.allowed import StatementRefused
from noetl_projector.sql_console.cells import (
    Connection,
    PooledConnection,
    encode_row,
    learn_types,
    prepare_connection,
    text_parameter,
)
from noetl_projector.sql_console.login import ConsoleLogin
from noetl_projector.sql_console.shown import shown_path
from noetl_projector.sql_console.targets import Target
from noetl_projector.sql_console.text import Statement, shown_statement

if TYPE_CHECKING:
    from asyncpg.prepared_stmt import PreparedStatement
    from asyncpg.transaction import Transaction


type Pool = asyncpg.Pool[asyncpg.Record]

_BEGIN = """
SELECT
    set_config('statement_timeout', $1, true),
    set_config('lock_timeout', $1, true),
    set_config('idle_in_transaction_session_timeout', $1, true),
    CASE WHEN $2::text <> '' THEN set_config('search_path', $2, true) END,
    EXISTS (
        SELECT
        FROM pg_catalog.pg_namespace AS n
        WHERE n.nspname = 'noetl_shown' AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
    ) AND NOT EXISTS (
        SELECT
        FROM pg_catalog.pg_class AS c
        INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = 'noetl' AND c.relname = 'event'
            AND pg_catalog.has_column_privilege(c.oid, 'context', 'SELECT')
    ) AS is_shown,
    EXISTS (
        SELECT
        FROM pg_catalog.pg_roles AS r
        WHERE (
            r.rolsuper
            OR r.rolname IN (
                'pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files'
            )
        ) AND pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER')
    ) AS is_dangerous
/* console_limits */
"""
_RESET_ROLE = "SET SESSION AUTHORIZATION DEFAULT /* reset_role */"
_GRACE_SECONDS = 2.0
_FIRST_CHUNK = 8
_LARGEST_CHUNK = 1000
_CONNECTION_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class SqlFailed(NoetlError):
    """PostgreSQL refused the statement."""

    template = "Database error: error returned from database: {reason}"
    http_status = 500


class WritesRefused(NoetlError):
    """The statement would write, and that is not allowed."""

    template = (
        "Database error: error returned from database: {reason}; "
        "NOETL_SQL_CONSOLE_WRITES allows writing"
    )
    http_status = 403


class RoleRefused(NoetlError):
    """Statements of this role could reach the database's host."""

    template = (
        "The role of this connection may read files or start programs on the database's host; "
        "the SQL route needs one that may not"
    )
    http_status = 403


class DatabaseNotReached(NoetlError):
    """The database that the request names refuses the connection."""

    template = "The database that the request names can't be reached: {reason}"
    http_status = 502


@dataclass(slots=True)
class Outcome:
    """Rows as JSON texts; ``is_cut`` when there were more than the limits allow."""

    rows: list[bytes] = field(default_factory=list)
    is_cut: bool = False


class SqlConsole:
    """A few slots that run one statement each, so that the service stays responsive."""

    def __init__(self, pool: Pool, *, login: ConsoleLogin, settings: Settings) -> None:
        self._pool = pool
        self._login = login
        self._settings = settings
        self._egress = Egress.from_settings(settings)
        self._slots = asyncio.Semaphore(settings.sql_console_connections)
        self._waiting = 0

    async def run(
        self,
        statement: Statement,
        *,
        search_path: str = "",
        target: Target | None = None,
        is_ours: bool = False,
    ) -> Outcome:
        """Run a statement in a transaction of its own.

        Args:
            statement: what to run.
            search_path: where names without a schema are looked for, if not as usual.
            target: another database than the service's own.
            is_ours: whether the text is not a client's, so that any role may run it.

        Raises:
            SqlFailed: PostgreSQL refused it.
            RoleRefused: the role may do more than a client should.
            WritesRefused: it would write.
            DatabaseUnavailable: no connection in time.
            DatabaseNotReached: the database that the request names is not there.
        """
        async with self._slot(), self._connection(target) as connection:
            try:
                async with asyncio.timeout(
                    self._settings.sql_console_timeout_seconds + _GRACE_SECONDS
                ):
                    is_own = target is None or self._is_own(target)
                    usual = self._login.search_path if is_own else ""
                    path = shown_path(search_path) or usual
                    return await self._transaction(connection, statement, path, is_ours=is_ours)
            except _CONNECTION_ERRORS as error:
                raise _ours(error) from error

    async def _transaction(
        self, connection: Connection, statement: Statement, search_path: str, *, is_ours: bool
    ) -> Outcome:
        may_write = self._settings.sql_console_writes
        milliseconds = str(int(self._settings.sql_console_timeout_seconds * 1000))
        transaction = connection.transaction(readonly=not may_write)
        await transaction.start()
        is_done = False
        try:
            # A transaction that has read something can't be made writable any more.
            role = await connection.fetchrow(_BEGIN, milliseconds, search_path)
            if not is_ours and (role is None or role["is_dangerous"]):
                raise RoleRefused
            if role is not None and role["is_shown"]:
                statement = await asyncio.to_thread(shown_statement, statement)
            outcome = await self._rows(connection, statement)
            is_done = True
        finally:
            if is_done and may_write:
                await transaction.commit()
            else:
                await _rolled_back(connection, transaction)
        return outcome

    async def _rows(self, connection: Connection, statement: Statement) -> Outcome:
        outcome = Outcome()
        if not statement.text:
            return outcome
        try:
            prepared = await connection.prepare(statement.text)
        except asyncpg.UnsupportedClientFeatureError:
            await learn_types(connection)
            prepared = await connection.prepare(statement.text)
        values = await asyncio.to_thread(_bound, prepared, statement.parameters)
        names = [attribute.name for attribute in prepared.get_attributes()]
        if not names:
            await prepared.fetch(*values)
            return outcome
        cursor = await prepared.cursor(*values)
        size, chunk = 0, _FIRST_CHUNK
        while not outcome.is_cut:
            rows = await cursor.fetch(chunk)
            for row in rows:
                encoded = encode_row(names, row)
                size += len(encoded)
                outcome.is_cut = (
                    len(outcome.rows) >= self._settings.sql_console_rows
                    or size > self._settings.sql_console_bytes
                )
                if outcome.is_cut:
                    break
                outcome.rows.append(encoded)
            if len(rows) < chunk:
                break
            chunk = self._next_chunk(size, len(outcome.rows))
        return outcome

    def _next_chunk(self, size: int, count: int) -> int:
        """Return the number of rows to fetch next, so that wide rows don't fill the memory."""
        left = max(self._settings.sql_console_bytes - size, 0)
        fitting = left * max(count, 1) // max(size, 1)
        return max(1, min(_LARGEST_CHUNK, fitting + 1))

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if self._waiting >= self._settings.sql_console_queue:
            raise DatabaseUnavailable(reason="too many statements are waiting")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._settings.sql_console_wait_seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise DatabaseUnavailable(
                reason="pool timed out while waiting for an open connection"
            ) from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()

    @asynccontextmanager
    async def _connection(self, target: Target | None) -> AsyncIterator[Connection]:
        if target is None:
            pooled = await self._own()
            try:
                yield pooled
            finally:
                await self._release(pooled)
            return
        connection = await self._elsewhere(target)
        try:
            yield connection
        finally:
            try:
                await connection.close(timeout=_GRACE_SECONDS)
            except _CONNECTION_ERRORS:
                connection.terminate()

    async def _own(self) -> PooledConnection:
        try:
            return await self._pool.acquire(timeout=self._settings.sql_console_wait_seconds)
        except Exception as error:
            if (ours := translated(error)) is None:
                raise
            raise ours from error

    async def _release(self, connection: PooledConnection) -> None:
        """Reset a connection and release it; otherwise a role that a statement took would stay."""
        try:
            if self._settings.sql_console_writes and not connection.is_closed():
                async with asyncio.timeout(_GRACE_SECONDS):
                    await connection.execute(_RESET_ROLE)
        except _CONNECTION_ERRORS:
            connection.terminate()
        finally:
            await self._pool.release(connection, timeout=_GRACE_SECONDS)

    async def _elsewhere(self, target: Target) -> Connection:
        settings, own = self._settings, self._login.own
        tls = tls_of(settings, settings.postgres_host)
        # The own password goes to the own server only.
        connect = self._login.connect if self._is_own(target) else asyncpg.connect
        try:
            if target.host is not None:
                await self._egress.addresses(target.host, target.port or 5432)
            connection: Connection = await connect(
                host=target.host or settings.postgres_host,
                port=target.port or (5432 if target.host else settings.postgres_port),
                user=target.user or ("postgres" if target.host else own.user),
                password=target.password or "",
                database=target.database or (target.user if target.host else settings.postgres_db),
                ssl=target.sslmode or ("prefer" if target.host else tls),
                timeout=settings.postgres_connect_timeout_seconds,
                statement_cache_size=0,
                server_settings={"application_name": "noetl sql", "timezone": "UTC"},
            )
            try:
                self._check_peer(connection, target)
                await prepare_connection(connection)
            except BaseException:
                connection.terminate()
                raise
        except (*_CONNECTION_ERRORS, asyncpg.InternalClientError) as error:
            # PostgreSQL's own words name the role or the database, never the password. The answer
            # doesn't disclose whether another program listens there.
            is_answer = isinstance(error, asyncpg.PostgresError | EgressRefused)
            words = str(error).partition("\n")[0] if is_answer else "no PostgreSQL answers there"
            raise DatabaseNotReached(reason=words) from error
        return connection

    def _is_own(self, target: Target) -> bool:
        """Return whether a target is on the service's own server, with the service's own login."""
        is_ours = target.host is None and target.user in {None, self._login.own.user}
        return is_ours and target.password is None

    def _check_peer(self, connection: Any, target: Target) -> None:
        """Raise unless the other end may be connected to; the driver resolves names by itself."""
        peer = connection._transport.get_extra_info("peername")  # noqa: SLF001 -- no public way
        if target.host is not None and isinstance(peer, tuple):
            self._egress.check_peer(target.host, str(peer[0]))


@asynccontextmanager
async def open_console(settings: Settings) -> AsyncIterator[SqlConsole]:
    """Open the console; it connects when it is first used."""
    login = ConsoleLogin(settings)
    pool = await asyncpg.create_pool(
        connect=login.connect,
        host=settings.postgres_host,
        port=settings.postgres_port,
        database=settings.postgres_db,
        ssl=tls_of(settings, settings.postgres_host),
        min_size=0,
        max_size=settings.sql_console_connections,
        timeout=settings.postgres_connect_timeout_seconds,
        max_inactive_connection_lifetime=60.0,
        statement_cache_size=0,
        server_settings={"application_name": "noetl sql", "timezone": "UTC"},
        init=prepare_connection,
    )
    try:
        yield SqlConsole(pool, login=login, settings=settings)
    finally:
        # Statements still running end with their connections.
        pool.terminate()


async def _rolled_back(connection: Connection, transaction: "Transaction") -> None:
    """Roll back, or end the connection if that takes long, with the same effect."""
    if connection.is_closed():
        return
    try:
        async with asyncio.timeout(_GRACE_SECONDS):
            await transaction.rollback()
    except _CONNECTION_ERRORS:
        connection.terminate()


def _bound(prepared: "PreparedStatement[asyncpg.Record]", parameters: Sequence[Json]) -> list[Json]:
    wanted = prepared.get_parameters()
    if len(wanted) != len(parameters):
        raise StatementRefused(
            reason=f"The statement has {len(wanted)} parameters, {len(parameters)} were given"
        )
    values = []
    for number, (kind, value) in enumerate(zip(wanted, parameters, strict=True), 1):
        if isinstance(value, list) and kind.kind != "array":
            values.append(orjson.dumps(value).decode())
            continue
        if kind.kind == "array" and value is not None and not isinstance(value, list):
            raise StatementRefused(reason=f"Parameter {number} must be a list")
        values.append(text_parameter(value))
    return values


def _ours(error: Exception) -> NoetlError:
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        return WritesRefused(reason=str(error))
    # Before the outages, which include cancelled statements.
    if isinstance(error, asyncpg.QueryCanceledError | TimeoutError):
        return SqlFailed(reason=str(error) or "canceling statement due to statement timeout")
    if isinstance(error, asyncpg.UnsupportedClientFeatureError):
        return StatementRefused(reason=f"{error}; cast it to text")
    if isinstance(error, asyncpg.exceptions.DataError) and not isinstance(
        error, asyncpg.PostgresError
    ):
        return StatementRefused(reason=str(error))
    outage = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, OSError)
    if isinstance(error, (*outage, asyncpg.InterfaceError)):
        return DatabaseUnavailable(reason=str(error) or type(error).__name__)
    return SqlFailed(reason=str(error).partition("\n")[0])
