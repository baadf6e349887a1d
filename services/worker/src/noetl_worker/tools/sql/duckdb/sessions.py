"""A DuckDB database in a thread of its own, so that the event loop goes on."""

import asyncio
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import duckdb
from noetl_common.logging import get_logger

from noetl_worker.settings import Settings
from noetl_worker.tools.sql.names import literal
from noetl_worker.tools.tool import Failure, ToolError

type Connection = duckdb.DuckDBPyConnection

_log = get_logger()
_IN_MEMORY = ":memory:"
_STOP_SECONDS = 2.0
_STOP_PAUSE_SECONDS = 0.05
_SPILL_FACTOR = 4
# Calls of a process share the instance of a file: only one of them makes its settings.
_CONFINING = threading.Lock()
# What queries may set: how values are read and shown, no limits.
_FREE_SETTINGS = (
    "calendar", "default_null_order", "default_order", "integer_division",
    "order_by_non_integer_literal", "preserve_insertion_order", "timezone",
)  # fmt: skip


class DuckSession:
    """One connection; what runs on it can be stopped."""

    def __init__(self, connection: Connection, executor: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._executor = executor
        self.is_lost = False

    async def call[T](self, work: Callable[[Connection], T]) -> T:
        """Run some work in the thread; when cancelled, stop it first."""
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._executor, work, self._connection)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await self._stop(future)
            raise

    async def _stop[T](self, future: "asyncio.Future[T]") -> None:
        deadline = asyncio.get_running_loop().time() + _STOP_SECONDS
        # Also if waiting here is cut short.
        self.is_lost = True
        while not future.done():
            # Stops one statement; the work may just have been between two of them.
            self._connection.interrupt()
            await asyncio.wait([future], timeout=_STOP_PAUSE_SECONDS)
            if asyncio.get_running_loop().time() > deadline:
                _log.warning("duckdb_not_stopped", seconds=_STOP_SECONDS)
                return
        self.is_lost = False
        # Retrieved, so that asyncio does not log it as lost.
        future.cancelled() or future.exception()


class DuckDbs:
    """Open databases within the worker's limits."""

    def __init__(self, settings: Settings) -> None:
        self._memory = settings.worker_duckdb_memory_bytes
        self._threads = settings.worker_duckdb_threads
        self._extensions = settings.worker_duckdb_extension_directory
        self._is_open = settings.worker_duckdb_external
        self._paths = settings.worker_duckdb_paths
        self._executor = ThreadPoolExecutor(
            settings.worker_max_concurrent, thread_name_prefix="duckdb"
        )

    @asynccontextmanager
    async def session(
        self, path: str | None, *, prepare: Callable[[Connection], None] | None = None
    ) -> AsyncIterator[DuckSession]:
        """Open a database file, or one in memory that is gone afterwards.

        Args:
            path: the file; None: in memory.
            prepare: what needs more than queries may: extensions, other servers.

        Raises:
            ToolError: it can't be opened.
        """
        loop = asyncio.get_running_loop()
        opening = loop.run_in_executor(self._executor, self._open, path or _IN_MEMORY, prepare)
        try:
            connection = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unused)
            raise
        session = DuckSession(connection, self._executor)
        try:
            yield session
        finally:
            # Closing under a statement that can't be stopped would wait for it.
            if not session.is_lost:
                await asyncio.shield(loop.run_in_executor(self._executor, connection.close))

    async def close(self) -> None:
        """Take no more work."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _open(self, path: str, prepare: Callable[[Connection], None] | None) -> Connection:
        # Equal for all who open a file: within a process they share one instance.
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{self._memory // 1000}KB",
            "threads": self._threads,
            "max_temp_directory_size": f"{self._memory * _SPILL_FACTOR // 1000}KB",
            # Nothing is fetched that nobody asked for.
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": self._is_open,
        }
        if self._extensions:
            config["extension_directory"] = self._extensions
        if path == _IN_MEMORY:
            # Otherwise in the working directory.
            config["temp_directory"] = str(Path(tempfile.gettempdir(), f"duckdb-{os.getpid()}"))
        with duckdb_errors("Failed to open database"):
            connection = duckdb.connect(path, config=config)
        try:
            if prepare is not None:
                prepare(connection)
            if not self._is_open:
                with duckdb_errors("Failed to open database"), _CONFINING:
                    _confine(connection, self._paths)
        except BaseException:
            connection.close()
            raise
        return connection


def _confine(connection: Connection, paths: tuple[str, ...]) -> None:
    """Keep queries to some directories and to the limits; for good, and for the whole instance."""
    is_done = connection.execute("SELECT current_setting('lock_configuration')").fetchone()
    if is_done == (True,):  # another call has the file open
        return
    real = dict.fromkeys((*paths, *(str(Path(path).resolve()) for path in paths)))
    connection.execute(f"SET allowed_directories = [{', '.join(map(literal, real))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute(f"SET allowed_configs = [{', '.join(map(literal, _FREE_SETTINGS))}]")
    connection.execute("SET lock_configuration = true")


def local_path(text: str, *, kind: str) -> str:
    """Return the path of a file: absolute as it is, else inside the working directory.

    Raises:
        ToolError: it leads out of the working directory.
    """
    path = Path(text)
    if path.is_absolute():
        return text
    here = Path.cwd()
    inside = Path(os.path.normpath(here / path))
    if not inside.is_relative_to(here):
        raise ToolError(
            "Configuration error",
            f"{kind} path `{text}` leads out of the worker's directory; "
            "give an absolute path if that is meant",
        )
    return str(inside)


def duckdb_error(prefix: str, error: duckdb.Error) -> ToolError:
    """Return the error to raise."""
    failure = Failure()
    if isinstance(error, duckdb.TransactionException):
        failure = Failure(kind="db_deadlock", retryable=True)
    elif isinstance(error, duckdb.ConstraintException):
        failure = Failure(kind="db_constraint")
    elif isinstance(error, duckdb.IOException) and "lock" in str(error):
        failure = Failure(kind="db_connection", retryable=True)
    hint = ""
    if isinstance(error, duckdb.PermissionException) and "configuration" in str(error):
        hint = " (of the worker: NOETL_WORKER_DUCKDB_PATHS, NOETL_WORKER_DUCKDB_EXTERNAL)"
    return ToolError("Database error", f"{prefix}: {error}{hint}", failure=failure)


@contextmanager
def duckdb_errors(prefix: str) -> Iterator[None]:
    """Make errors of the database errors of the tool."""
    try:
        yield
    except duckdb.Error as error:
        raise duckdb_error(prefix, error) from error


def _close_unused(opening: "asyncio.Future[Connection]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
