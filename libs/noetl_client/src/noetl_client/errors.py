"""Errors of calls, as exceptions that carry the server's answer."""

from noetl_contract.failures.cause import Cause


class ClientError(Exception):
    """A call failed or was refused."""


class BadAddress(ClientError, ValueError):
    """The text is no address of a server."""


class Unreachable(ClientError):
    """No answer came: the server is away, silent, or was left in the middle.

    Attributes:
        was_heard: whether the server may have taken the call and done it.
    """

    def __init__(self, text: str, *, was_heard: bool) -> None:
        super().__init__(text)
        self.was_heard = was_heard


class UnexpectedAnswer(ClientError):
    """Something answers there, but not as a NoETL server does."""


class Refused(ClientError):
    """The server answered no.

    Attributes:
        status: HTTP status.
        detail: the server's reason.
        hint: what could be done about it, where the server says so.
        retry_after: seconds after which the server wants to be asked again.
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
    """401: the server asks for a login, or doesn't know the key."""


class Forbidden(Refused):
    """403: the caller lacks the right that the detail names."""


class NotFound(Refused):
    """404: there is no such thing, or it is out of the caller's reach."""


class Conflict(Refused):
    """409: the state of the thing doesn't allow it."""


class Invalid(Refused):
    """400 or 422: the request is wrong, or the thing is in another state."""


class Busy(Refused):
    """429, 502, 503 or 504: not now; for a start 503 means that nothing was started."""


class NotEnded(ClientError):
    """The execution runs, so it has no result yet."""


class WaitTimedOut(NotEnded):
    """The execution had not ended when the time to wait was over; it goes on.

    Attributes:
        execution_id: which one.
        status: its status at last.
    """

    def __init__(self, execution_id: str, status: str, seconds: float) -> None:
        super().__init__(f"execution {execution_id} is {status} after {seconds:g} s of waiting")
        self.execution_id = execution_id
        self.status = status


class ExecutionFailed(ClientError):
    """The execution has ended as FAILED or CANCELLED.

    Attributes:
        execution_id: which one.
        status: how it ended.
        cause: what failed first, where it is known.
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
