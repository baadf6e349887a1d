"""DuckDB's errors as those of the tool."""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from noetl_worker.tools.errors import Failure, ToolError


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
