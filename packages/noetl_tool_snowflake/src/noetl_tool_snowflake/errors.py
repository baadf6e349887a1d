"""Errors of Snowflake and its driver as tool errors, by Snowflake's number."""

import re
from typing import Final, Protocol

from noetl_worker.tools.errors import Failure, ToolError

_LONGEST = 2000
_CANCELLED = 604
# The login was understood and refused: another try needs another login.
_REFUSED = frozenset(range(390100, 390110)) | {390144, 390186, 390189, 390201, 390422, 394300}
_KINDS: Final = (
    ("db_timeout", frozenset({_CANCELLED, 630})),
    ("db_deadlock", frozenset({625, 626})),
    ("db_constraint", frozenset({100072})),
    ("not_found", frozenset({2003, 2043})),
    ("auth", _REFUSED),
    # No answer, and a session that is over.
    ("db_connection", frozenset({4, 250001, 250003, 251011, 251012})),
    ("db_connection", frozenset({390111, 390112, 390114, 390195, 390318})),
)
_STATES: Final = {"08": "db_connection", "23": "db_constraint"}
_RETRYABLE: Final = frozenset({"db_timeout", "db_deadlock", "db_connection"})
_NUMBER = re.compile(r"^\d{6}(?: \(\w{5}\))?: ")
_INNER_NUMBER = re.compile(r"\b(39\d{4})\b")


class Raised(Protocol):
    """Attributes that all of the driver's exceptions have."""

    errno: int | None
    sqlstate: str | None
    msg: str | None


def statement_error(what: str, error: Raised) -> ToolError:
    """Return the error to raise; its text is ``Database error: <what>: <number>: …``."""
    return ToolError("Database error", f"{what}: {described(error)}", failure=failure_of(error))


def login_error(error: Raised) -> ToolError:
    """Return the error of a session that doesn't begin."""
    number = error.errno or 0
    inner = _INNER_NUMBER.search(error.msg or "")
    refused = number if number in _REFUSED else int(inner[1]) if inner else 0
    if refused in _REFUSED:
        failure = Failure(kind="auth", code=f"SF_{refused:06d}")
        return ToolError("Authentication error", described(error), failure=failure)
    failure = Failure(kind="db_connection", retryable=True, code=f"SF_{number:06d}")
    return ToolError(
        "Database error", f"Failed to get connection: {described(error)}", failure=failure
    )


def described(error: Raised) -> str:
    """Return number, SQLSTATE and text of an error, each once."""
    text = error.msg or type(error).__name__
    # The driver puts the number before a text that may have it already.
    while found := _NUMBER.match(text):
        text = text[found.end() :]
    number = f"{error.errno:06d}" if error.errno is not None else ""
    state = f" ({error.sqlstate})" if error.sqlstate else ""
    return f"{number}{state}: {text}"[:_LONGEST] if number else text[:_LONGEST]


def failure_of(error: Raised) -> Failure:
    """Return a failure as policies see it."""
    number, state = error.errno, error.sqlstate or ""
    if number is None:
        return Failure()
    kind = next((kind for kind, numbers in _KINDS if number in numbers), None)
    if kind is None:
        kind = _STATES.get(state[:2], "unknown")
    retryable = kind in _RETRYABLE and number != _CANCELLED
    return Failure(kind=kind, retryable=retryable, code=f"SF_{number:06d}")
