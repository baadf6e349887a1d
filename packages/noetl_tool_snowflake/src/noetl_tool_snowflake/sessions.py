"""Sessions in Snowflake: opened for one call, bounded in number, and ended with it.

The driver is loaded with the first of them, in a thread: that takes a second and 80 MB.
"""

import asyncio
import importlib
import math
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from noetl_common.egress import Egress
from noetl_common.logging import get_logger
from noetl_contract.json import Json
from noetl_worker.tools.errors import Failure, ToolError
from noetl_worker.tools.tool import ToolContext, ToolParts

from noetl_tool_snowflake.errors import login_error, statement_error
from noetl_tool_snowflake.login import Login
from noetl_tool_snowflake.settings import SnowflakeSettings
from noetl_tool_snowflake.sql_text import uses_files

_CLOSE_SECONDS = 5.0
_LONGEST_TAG = 200
# The driver would do that in the worker's name.
_FILES = "PUT and GET are refused: their files would be the worker's own"
_log = get_logger()


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result, with its type as the driver numbers them."""

    name: str
    code: int
    precision: int | None
    scale: int | None


class Session:
    """A session, for one statement at a time.

    A statement whose task is cancelled is cancelled at the server: the driver asks for that.
    """

    def __init__(self, cursor: Any, raised: type[Exception]) -> None:
        self._cursor = cursor
        self._raised = raised

    async def run(self, statement: str, values: Sequence[Json] = (), *, what: str) -> None:
        """Run a statement with values for each `?`.

        Raises:
            ToolError: Snowflake refuses it; the text begins with what failed.
        """
        if uses_files(statement):
            raise ToolError("Configuration error", f"snowflake: {_FILES}")
        try:
            await self._cursor.execute(statement, [*values] or None)
        except self._raised as error:
            raise statement_error(what, error) from error  # type: ignore[arg-type]

    @property
    def columns(self) -> list[Column]:
        """The columns of the result."""
        described = self._cursor.description or []
        return [Column(one.name, one.type_code, one.precision, one.scale) for one in described]

    @property
    def changed(self) -> int:
        """Number of rows that the statement has changed."""
        return max(self._cursor.rowcount or 0, 0)

    async def fetch(self, size: int, *, what: str) -> list[tuple[object, ...]]:
        """Return the next rows, none at the end.

        Raises:
            ToolError: they can't be had.
        """
        try:
            return [*await self._cursor.fetchmany(size)]
        except self._raised as error:
            raise statement_error(what, error) from error  # type: ignore[arg-type]


class Sessions:
    """Opens sessions, so many at once."""

    def __init__(self, settings: SnowflakeSettings, egress: Egress) -> None:
        self.servers = settings.servers
        self._settings = settings
        self._egress = egress
        self._free = asyncio.Semaphore(settings.sessions)

    @asynccontextmanager
    async def session(
        self, login: Login, context: ToolContext, *, seconds: float
    ) -> AsyncIterator[Session]:
        """Open a session whose statements end after so many seconds, even without its caller.

        What was not committed when the block ends is rolled back.

        Raises:
            ToolError: none is to be had.
        """
        try:
            async with asyncio.timeout(self._settings.wait_seconds):
                await self._free.acquire()
        except TimeoutError as error:
            raise _no_session(
                f"{self._settings.sessions} sessions are open at once "
                "(NOETL_WORKER_SNOWFLAKE_SESSIONS)"
            ) from error
        try:
            connection, raised = await self._connected(login, context, seconds)
            try:
                yield Session(connection.cursor(), raised)
            finally:
                # Also when it is cut short once more: Snowflake would keep it for hours.
                await asyncio.shield(_closed(connection, raised))
        finally:
            self._free.release()

    async def _connected(
        self, login: Login, context: ToolContext, seconds: float
    ) -> tuple[Any, type[Exception]]:
        driver = await asyncio.to_thread(_loaded)
        try:
            async with asyncio.timeout(self._settings.login_seconds):
                await self._egress.addresses(login.host, login.port)
        except (TimeoutError, OSError, UnicodeError) as error:
            raise _no_session(str(error) or "timed out") from error
        raised = driver.errors.Error
        try:
            # Somewhat longer than the driver's own timeout, whose error says more.
            async with asyncio.timeout(self._settings.login_seconds + 1):
                options = _options(login, context, self._settings.login_seconds, seconds)
                return await driver.aio.connect(**options), raised
        except TimeoutError as error:
            raise _no_session("timed out") from error
        except raised as error:
            raise login_error(error) from error


def shared_sessions(parts: ToolParts) -> Sessions:
    """Return the sessions of a worker; its tool and `transfer` share them."""
    # The tool and the kind of place keep them.
    found = _SHARED.get(id(parts.settings))
    if found is None:
        found = Sessions(SnowflakeSettings(), Egress.from_settings(parts.settings))
        _SHARED[id(parts.settings)] = found
    return found


_SHARED: WeakValueDictionary[int, Sessions] = WeakValueDictionary()


def _loaded() -> Any:
    # At each login it would ask the machine's cloud who it is, where no tool may go.
    os.environ["SNOWFLAKE_DISABLE_PLATFORM_DETECTION"] = "true"
    importlib.import_module("snowflake.connector.aio")
    return importlib.import_module("snowflake.connector")


def _options(
    login: Login, context: ToolContext, login_seconds: int, seconds: float
) -> dict[str, Any]:
    options: dict[str, Any] = {
        "account": login.account,
        "host": login.host,
        "port": login.port,
        "protocol": login.protocol,
        "user": login.user,
        "warehouse": login.warehouse,
        "database": login.database,
        "schema": login.schema,
        "role": login.role,
        "login_timeout": login_seconds,
        "connect_timeout": login_seconds,
        "paramstyle": "qmark",
        "application": "NoETL",
        # Nothing of one call stays behind on the worker's disk or in the account.
        "client_store_temporary_credential": False,
        "enable_server_session_keep_alive_auto_detection": False,
        "server_session_keep_alive": False,
        "session_parameters": {
            "CLIENT_TELEMETRY_ENABLED": "false",
            "QUERY_TAG": f"noetl {context.execution_id} {context.step}"[:_LONGEST_TAG],
            # The server ends what a worker that is gone can't cancel any more.
            "STATEMENT_TIMEOUT_IN_SECONDS": str(math.ceil(seconds)),
            "TIMEZONE": "UTC",
        },
    }
    if login.private_key is not None:
        options |= {"authenticator": "SNOWFLAKE_JWT", "private_key": login.private_key}
    else:
        options["password"] = login.password
    return {name: value for name, value in options.items() if value is not None}


async def _closed(connection: Any, raised: type[Exception]) -> None:
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await connection.close()
    except (TimeoutError, OSError, raised) as error:
        _log.warning("snowflake_session_not_closed", error=str(error)[:200])


def _no_session(reason: str) -> ToolError:
    return ToolError(
        "Database error",
        f"Failed to get connection: {reason}",
        failure=Failure(kind="db_connection", retryable=True),
    )
