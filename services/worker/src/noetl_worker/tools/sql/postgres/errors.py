"""Errors of PostgreSQL and its driver as tool errors."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from noetl_worker.tools.tool import Failure, ToolError

PG_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    UnicodeError,
)
"""Exceptions of the driver, timeouts apart."""

_DEADLOCKS = frozenset({"40001", "40P01"})
_TIMEOUT = "57014"
_SHUTDOWNS = frozenset({"57P01", "57P02", "57P03", "53300"})


def pg_error(prefix: str, error: BaseException) -> ToolError:
    """Return the error to raise; its text is ``Database error: <prefix>: …``."""
    return ToolError("Database error", f"{prefix}: {described(error)}", failure=_failure(error))


@contextmanager
def pg_errors(prefix: str) -> Iterator[None]:
    """Make errors of the database errors of the tool."""
    try:
        yield
    except PG_ERRORS as error:
        raise pg_error(prefix, error) from error


def no_connection(reason: str) -> ToolError:
    """Return the error of a database that can't be reached."""
    return ToolError(
        "Database error",
        f"Failed to get connection: {reason}",
        failure=Failure(kind="db_connection", retryable=True),
    )


def described(error: BaseException) -> str:
    """Return the text of an error without its prefix."""
    severity = getattr(error, "severity", None)
    if not isinstance(error, asyncpg.PostgresError) or severity is None:
        # The driver's own, even if it carries a state.
        return str(error) or type(error).__name__
    text = f"{severity}: {getattr(error, 'message', error)} (SQLSTATE {error.sqlstate})"
    for label in ("detail", "hint"):
        if more := getattr(error, label, None):
            text += f" | {label.upper()}: {more}"
    return text


def _failure(error: BaseException) -> Failure:
    state = getattr(error, "sqlstate", None)
    if not isinstance(error, asyncpg.PostgresError) or not state:
        lost = isinstance(error, OSError) or "closed" in str(error)
        return Failure(kind="db_connection", retryable=True) if lost else Failure()
    code = f"PG_{state}"
    if state in _DEADLOCKS:
        return Failure(kind="db_deadlock", retryable=True, code=code)
    if state == _TIMEOUT:
        return Failure(kind="db_timeout", retryable=True, code=code)
    if state.startswith("23"):
        return Failure(kind="db_constraint", code=code)
    if state.startswith("08") or state in _SHUTDOWNS:
        return Failure(kind="db_connection", retryable=True, code=code)
    return Failure(code=code)
