"""Connections to the databases of playbooks, kept for the next call."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import asyncpg
from noetl_common.egress import Egress
from noetl_common.logging import get_logger
from noetl_contract.json import JsonObject

from noetl_worker.settings import Settings
from noetl_worker.tools.errors import NeverBegan
from noetl_worker.tools.means import lacks_means
from noetl_worker.tools.sql.postgres.address import PgAddress
from noetl_worker.tools.sql.postgres.errors import PG_ERRORS, no_connection, pg_error
from noetl_worker.tools.sql.postgres.params import Connection
from noetl_worker.tools.sql.postgres.values import prepare_values
from noetl_worker.tools.tool import ToolError

type Pool = asyncpg.Pool[asyncpg.Record]

_log = get_logger()
_RELEASE_SECONDS = 10.0
# Nothing of one call is seen by the next: no path, role, setting, lock, cursor or temporary table.
_RESET = "DISCARD ALL"


@dataclass(frozen=True, slots=True, kw_only=True)
class PgLimits:
    """Bounds of the connections."""

    connect_seconds: float
    wait_seconds: float
    pool_size: int
    pools: int
    idle_seconds: float
    egress: Egress = field(default_factory=Egress)

    @classmethod
    def of(cls, settings: Settings) -> "PgLimits":
        """Return the limits of the settings."""
        return cls(
            connect_seconds=settings.worker_sql_connect_timeout_seconds,
            wait_seconds=settings.worker_sql_pool_wait_seconds,
            pool_size=settings.worker_sql_pool_size,
            pools=settings.worker_sql_pools,
            idle_seconds=settings.worker_sql_pool_idle_seconds,
            egress=Egress.from_settings(settings),
        )


@dataclass(slots=True)
class _Entry:
    pool: Pool
    users: int = 0
    used_at: float = 0.0


class PgPools:
    """A small pool per database and login; idle pools are closed."""

    def __init__(self, limits: PgLimits) -> None:
        self._limits = limits
        self._entries: OrderedDict[PgAddress, _Entry] = OrderedDict()

    @asynccontextmanager
    async def connection(
        self, address: PgAddress, *, may_move: bool = False
    ) -> AsyncIterator[Connection]:
        """Give a connection that looks new, for the block.

        Args:
            address: of the database.
            may_move: whether another worker may have the call if this machine lacks the means.

        Raises:
            NeverBegan: it may, and the machine does.
            ToolError: there is none to be had.
        """
        try:
            await _check(address, self._limits)
            entry = await self._entry(address)
        except ToolError as error:
            raise _movable(error, may_move=may_move) from error
        entry.users += 1
        try:
            try:
                connection = await self._acquired(entry.pool)
            except ToolError as error:
                raise _movable(error, may_move=may_move) from error
            try:
                yield connection
            finally:
                # Also when it is cut short once more: the pool would miss it for ever.
                await asyncio.shield(_released(entry.pool, connection))
        finally:
            entry.users -= 1
            entry.used_at = monotonic()

    async def close(self) -> None:
        """Close all connections."""
        while self._entries:
            _, entry = self._entries.popitem()
            await _closed(entry.pool)

    async def _entry(self, address: PgAddress) -> _Entry:
        for known, entry in list(self._entries.items()):
            if self._entries.get(known) is not entry:
                # Another call has closed it while we waited for one to close.
                continue
            too_many = len(self._entries) >= self._limits.pools and address not in self._entries
            too_old = monotonic() - entry.used_at > 2 * self._limits.idle_seconds
            if known != address and entry.users == 0 and (too_many or too_old):
                del self._entries[known]
                # It is idle, so closing it takes a few messages only.
                await _closed(entry.pool)
        found = self._entries.get(address)
        if found is None:
            if len(self._entries) >= self._limits.pools:
                raise no_connection(
                    f"{len(self._entries)} databases are in use at once (NOETL_WORKER_SQL_POOLS)"
                )
            found = _Entry(_new_pool(address, self._limits))
            self._entries[address] = found
        self._entries.move_to_end(address)
        return found

    async def _acquired(self, pool: Pool) -> Connection:
        limits = self._limits
        try:
            # Nothing is connected here.
            await pool
            # A connection that is being opened has its own timeout.
            async with asyncio.timeout(limits.wait_seconds + limits.connect_seconds):
                return await pool.acquire()  # type: ignore[return-value]  # a proxy of one
        except TimeoutError as error:
            raise no_connection("timed out") from error
        except PG_ERRORS as error:
            raise _refused(error) from error


@asynccontextmanager
async def open_connection(address: PgAddress, limits: PgLimits) -> AsyncIterator[Connection]:
    """Open a connection outside of the pools, with values as the server writes them.

    Raises:
        ToolError: it can't be opened.
    """
    await _check(address, limits)
    try:
        connection = await asyncpg.connect(**_arguments(address, limits))
    except TimeoutError as error:
        raise no_connection("timed out") from error
    except PG_ERRORS as error:
        raise _refused(error) from error
    try:
        _check_peer(connection, address, limits)
        yield connection
    finally:
        try:
            await connection.close(timeout=_RELEASE_SECONDS)
        except (TimeoutError, *PG_ERRORS):
            connection.terminate()


def _new_pool(address: PgAddress, limits: PgLimits) -> Pool:
    return asyncpg.create_pool(
        **_arguments(address, limits),
        min_size=0,
        max_size=limits.pool_size,
        max_inactive_connection_lifetime=limits.idle_seconds,
        init=lambda connection: _prepared(connection, address, limits),
        reset=_reset,
    )


def _arguments(address: PgAddress, limits: PgLimits) -> JsonObject:
    return {
        **address.arguments(),
        "timeout": limits.connect_seconds,
        # Named statements would be lost by the reset, and behind a pooler.
        "statement_cache_size": 0,
    }


async def _check(address: PgAddress, limits: PgLimits) -> None:
    """Raise unless the address may be connected to."""
    if address.host.startswith("/"):
        return
    try:
        async with asyncio.timeout(limits.connect_seconds):
            for host in address.host.split(","):
                await limits.egress.addresses(host, address.port)
    except (TimeoutError, OSError, UnicodeError) as error:
        raise no_connection(str(error) or "timed out") from error


def _check_peer(connection: Any, address: PgAddress, limits: PgLimits) -> None:
    """Raise unless the other end may be connected to.

    The driver resolves the name once more: TLS needs the name, and there is no parameter for the
    address beside it. What it has reached is checked before any statement.
    """
    peer = connection._transport.get_extra_info("peername")  # noqa: SLF001 -- see above
    if isinstance(peer, tuple):
        limits.egress.check_peer(address.host, str(peer[0]))


async def _prepared(connection: Any, address: PgAddress, limits: PgLimits) -> None:
    _check_peer(connection, address, limits)
    await prepare_values(connection)


async def _reset(connection: Any) -> None:
    await connection.execute(_RESET)


async def _released(pool: Pool, connection: Connection) -> None:
    """Return a connection to its pool, which closes it when it can't be reset."""
    try:
        if connection.is_in_transaction():
            with suppress(*PG_ERRORS):
                await connection.execute("ROLLBACK", timeout=_RELEASE_SECONDS)
        await pool.release(connection, timeout=_RELEASE_SECONDS)  # type: ignore[arg-type]
    except (TimeoutError, *PG_ERRORS) as error:
        _log.warning("sql_connection_dropped", error=type(error).__name__)


async def _closed(pool: Pool) -> None:
    try:
        async with asyncio.timeout(_RELEASE_SECONDS):
            await pool.close()
    except (TimeoutError, *PG_ERRORS):
        pool.terminate()


def _movable(error: ToolError, *, may_move: bool) -> ToolError:
    """Return the error of a connection, as one that another worker may not have if it may be so."""
    if not (may_move and lacks_means(error)):
        return error
    return NeverBegan(error.prefix, error.message, failure=error.failure)


def _refused(error: BaseException) -> ToolError:
    if isinstance(error, asyncpg.PostgresError):
        return pg_error("Failed to get connection", error)
    return no_connection(str(error) or type(error).__name__)
