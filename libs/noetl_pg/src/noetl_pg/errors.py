"""Translation of the driver's errors, so that no code above a store imports asyncpg."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from noetl_common.errors import Conflict, NoetlError, Permanent, Transient


class DataConflict(Conflict):
    """A key exists already, or another transaction was faster: reload and decide again."""

    template = "the data was changed by another transaction: {reason}"


class DatabaseUnavailable(Transient):
    """The database doesn't answer; the work may or may not be committed."""

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
    """Return the translation of a driver's error, or ``None`` for a bug of the caller."""
    reason = _reason(error)
    if isinstance(error, _CONFLICTS):
        constraint = getattr(error, "constraint_name", None)
        return DataConflict(reason=reason, constraint=constraint)
    # The driver's own DataError, for values that it can't encode, is also an InterfaceError, so it
    # is tested before the outages.
    if isinstance(error, (*_REJECTIONS, asyncpg.exceptions.DataError)):
        return DataRejected(reason=reason)
    if isinstance(error, _OUTAGES):
        return DatabaseUnavailable(reason=reason)
    if isinstance(error, asyncpg.InterfaceError) and _is_about_the_connection(error):
        return DatabaseUnavailable(reason=reason)
    return None


def is_answer(error: BaseException) -> bool:
    """Return whether an error is the answer of a working server, such as a refused login.

    Errors of a server that starts or stops, and errors of the connection, are not.
    """
    state = getattr(error, "sqlstate", None) or ""
    return isinstance(error, asyncpg.PostgresError) and not state.startswith(_NOT_AT_WORK)


@contextmanager
def translate() -> Iterator[None]:
    """Raise the translation of each error of the driver.

    Raises:
        DataConflict: a key exists already, or another transaction was faster.
        DatabaseUnavailable: the outcome is unknown.
        DataRejected: the values are invalid.
    """
    try:
        yield
    except Exception as error:
        if (translation := translated(error)) is not None:
            raise translation from error
        raise


def _is_about_the_connection(error: asyncpg.InterfaceError) -> bool:
    # Misuse of the driver raises the same class, with another text.
    text = str(error).lower()
    return "closed" in text or "closing" in text or "released" in text


def _reason(error: BaseException) -> str:
    """Describe an error without its detail line, in which the server quotes values of rows."""
    if isinstance(error, asyncpg.PostgresError):
        constraint = getattr(error, "constraint_name", None)
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        return f"{text} ({constraint})" if constraint and constraint not in text else text
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
