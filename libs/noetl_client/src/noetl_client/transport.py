"""Parts of HTTP that both clients share."""

from http import HTTPStatus
from typing import TypedDict

import httpx

from noetl_client.answers import Answer, refused
from noetl_client.calls.call import Again, Call
from noetl_client.connection import Connection
from noetl_client.errors import (
    BadAddress,
    Busy,
    ClientError,
    Refused,
    UnexpectedAnswer,
    Unreachable,
)

POLL_SECONDS = 0.05
LONGEST_POLL_SECONDS = 2.0
_POLL_SHARE = 0.1
TERMINAL_STATUSES = frozenset({"COMPLETED", "FAILED", "CANCELLED"})
_NEVER_HEARD = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


class _Options(TypedDict):
    base_url: str
    headers: dict[str, str]
    timeout: httpx.Timeout
    trust_env: bool
    proxy: str | None


def options(connection: Connection) -> _Options:
    """Return the options of an HTTP client."""
    headers = {"accept": "application/json", "user-agent": "noetl-client"}
    if connection.key:
        headers["authorization"] = f"Bearer {connection.key}"
    return {
        "base_url": connection.url.rstrip("/"),
        "headers": headers,
        "timeout": httpx.Timeout(connection.timeout, connect=connection.connect_timeout),
        "trust_env": not connection.is_local,
        "proxy": connection.proxy,
    }


def bad_address(connection: Connection, error: Exception) -> BadAddress:
    """Return the error for an address that the HTTP client doesn't take."""
    return BadAddress(f"{connection.url} is no address of a server: {error}")


def request_of(client: httpx.Client | httpx.AsyncClient, call: Call[object]) -> httpx.Request:
    """Return the request that a call is."""
    headers = {} if call.body is None else {"content-type": "application/json"}
    if call.key is not None:
        headers["idempotency-key"] = call.key
    return client.build_request(
        call.method, call.path, params=dict(call.query), content=call.body, headers=headers
    )


def answer_of(response: httpx.Response) -> Answer:
    """Return the answer that a response, read to its end, is."""
    return Answer(response.status_code, response.content, dict(response.headers))


def unreachable(url: str, error: httpx.RequestError) -> Unreachable:
    """Return the error for a call that the network has lost."""
    reason = str(error) or type(error).__name__
    return Unreachable(
        f"no answer from {url}: {reason}", was_heard=not isinstance(error, _NEVER_HEARD)
    )


def pause_before_next(
    call: Call[object], trouble: ClientError, made: int, connection: Connection
) -> float:
    """Return how long to wait before the same call is made again.

    Raises:
        ClientError: the trouble itself, since it isn't.
    """
    is_safe = call.again is Again.SAFE
    if isinstance(trouble, Unreachable):
        may_repeat, retry_after = is_safe or not trouble.was_heard, None
    elif isinstance(trouble, Busy):
        # A 429 comes before anything is done.
        may_repeat = is_safe or trouble.status == HTTPStatus.TOO_MANY_REQUESTS
        retry_after = trouble.retry_after
    else:
        raise trouble
    pause = connection.retries.pause(made, retry_after) if may_repeat else None
    if pause is None:
        raise trouble
    return pause


def stream_refusal(answer: Answer, url: str) -> Refused | UnexpectedAnswer:
    """Return the error for a stream that was not opened."""
    if answer.is_good:
        return UnexpectedAnswer(f"{url} answers with status {answer.status} and no event stream")
    return refused(answer, url)


def poll_pause(waited: float, left: float) -> float:
    """Return the pause between two looks at an execution: a tenth of the time waited so far."""
    return max(0.0, min(max(waited * _POLL_SHARE, POLL_SECONDS), LONGEST_POLL_SECONDS, left))
