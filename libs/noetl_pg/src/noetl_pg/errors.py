"""Translation of the driver's errors to ours: nothing above a store imports asyncpg."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from noetl_common.errors import Conflict, NoetlError, Permanent, Transient


class DataConflict(Conflict):
    """A key is taken, or another transaction was first: reload and decide again."""

    template = "the data was changed by somebody else: {reason}"


class DatabaseUnavailable(Transient):
    """No answer from the database; whether the work was committed is unknown."""

    template = "the database is not available: {reason}"


class DataRejected(Permanent):
    """The database will never accept these values."""

    template = "the database refuses the data: {reason}"


_CONFLICTS = (
    asyncpg.UniqueViolationError,
    asyncpg.ExclusionViolationError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
)
_REJECTIONS = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.UntranslatableCharacterError,
)
_OUTAGES = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InternalClientError,
    asyncpg.PostgresSystemError,
    OSError,
    TimeoutError,
)
_NOT_AT_WORK = ("08", "57P")


def translated(error: BaseException) -> NoetlError | None:
    """Return our error for a driver's error, or ``None`` when it is a mistake in our code."""
    reason = _reason(error)
    if isinstance(error, _CONFLICTS):
        constraint = getattr(error, "constraint_name", None)
        return DataConflict(reason=reason, constraint=constraint)
    # Values the driver can't encode, and values the server refuses. The driver's own class is
    # also an InterfaceError, so this comes before the outages.
    if isinstance(error, (*_REJECTIONS, asyncpg.exceptions.DataError)):
        return DataRejected(reason=reason)
    if isinstance(error, _OUTAGES):
        return DatabaseUnavailable(reason=reason)
    if isinstance(error, asyncpg.InterfaceError) and _is_about_the_connection(error):
        return DatabaseUnavailable(reason=reason)
    return None


def is_answer(error: BaseException) -> bool:
    """Whether an error is the word of a server that works, such as one that refuses the login.

    None is one that starts or stops, nor one about the connection.
    """
    state = getattr(error, "sqlstate", None) or ""
    return isinstance(error, asyncpg.PostgresError) and not state.startswith(_NOT_AT_WORK)


@contextmanager
def translate() -> Iterator[None]:
    """Raise our error instead of the driver's.

    Raises:
        DataConflict: a key is taken or another transaction was first.
        DatabaseUnavailable: the outcome is unknown.
        DataRejected: the values are bad.
    """
    try:
        yield
    except Exception as error:
        if (ours := translated(error)) is not None:
            raise ours from error
        raise


def _is_about_the_connection(error: asyncpg.InterfaceError) -> bool:
    # The class covers misuse too; only its text distinguishes them.
    text = str(error).lower()
    return "closed" in text or "closing" in text or "released" in text


def _reason(error: BaseException) -> str:
    """Describe without values: the server's detail line quotes rows."""
    if isinstance(error, asyncpg.PostgresError):
        constraint = getattr(error, "constraint_name", None)
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        return f"{text} ({constraint})" if constraint and constraint not in text else text
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
