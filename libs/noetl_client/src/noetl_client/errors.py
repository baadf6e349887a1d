"""Errors of calls, with the server's answer."""

from noetl_contract.failures.cause import Cause


class ClientError(Exception):
    """Base class of all errors of the client."""


class BadAddress(ClientError, ValueError):
    """The text is not a valid address of a server."""


class Unreachable(ClientError):
    """No answer arrived: the connect failed or timed out, or the connection was lost.

    Attributes:
        was_heard: whether the server may have executed the call.
    """

    def __init__(self, text: str, *, was_heard: bool) -> None:
        super().__init__(text)
        self.was_heard = was_heard


class UnexpectedAnswer(ClientError):
    """The address answers, but not like a NoETL server."""


class Refused(ClientError):
    """The server refused the call.

    Attributes:
        status: HTTP status.
        detail: reason of the server.
        hint: advice of the server, if there is one.
        retry_after: seconds after which the server accepts a retry, if it says so.
    """

    def __init__(
        self, status: int, detail: str, *, hint: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{detail} ({hint})" if hint else detail)
        self.status = status
        self.detail = detail
        self.hint = hint
        self.retry_after = retry_after


class LoginNeeded(Refused):
    """401: the server requires a login, or rejects the key."""


class Forbidden(Refused):
    """403: the caller lacks the right that the detail names."""


class NotFound(Refused):
    """404: the object doesn't exist, or the caller may not see it."""


class Conflict(Refused):
    """409: the state of the object doesn't allow the call."""


class Invalid(Refused):
    """400 or 422: the request is invalid, or the object is in another state."""


class Busy(Refused):
    """429, 502, 503 or 504: a later retry may succeed; a start with 503 has started nothing."""


class NotEnded(ClientError):
    """The execution is running, so it has no result yet."""


class WaitTimedOut(NotEnded):
    """The execution did not end before the timeout; it continues.

    Attributes:
        execution_id: id of the execution.
        status: last known status.
    """

    def __init__(self, execution_id: str, status: str, seconds: float) -> None:
        super().__init__(f"execution {execution_id} is {status} after {seconds:g} s of waiting")
        self.execution_id = execution_id
        self.status = status


class ExecutionFailed(ClientError):
    """The execution has ended as FAILED or CANCELLED.

    Attributes:
        execution_id: id of the execution.
        status: `FAILED` or `CANCELLED`.
        cause: first failure, if known.
    """

    def __init__(self, execution_id: str, status: str, reason: str, cause: Cause | None) -> None:
        super().__init__(f"execution {execution_id} is {status}: {reason}")
        self.execution_id = execution_id
        self.status = status
        self.cause = cause


_BY_STATUS: dict[int, type[Refused]] = {
    400: Invalid,
    401: LoginNeeded,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: Invalid,
    429: Busy,
    502: Busy,
    503: Busy,
    504: Busy,
}


def refusal(
    status: int, detail: str, *, hint: str | None = None, retry_after: float | None = None
) -> Refused:
    """Return the error for a status."""
    return _BY_STATUS.get(status, Refused)(status, detail, hint=hint, retry_after=retry_after)
