"""Requests and answers of HTTP, which both clients share."""

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from typing import Any, TypedDict, cast

import httpx
from noetl_contract.json import Json
from pydantic import TypeAdapter, ValidationError

from noetl_client.calls.call import Again, Call
from noetl_client.connection import Connection
from noetl_client.errors import (
    BadAddress,
    Busy,
    ClientError,
    Refused,
    UnexpectedAnswer,
    Unreachable,
    refusal,
)

_MOST_SHOWN = 500
POLL_SECONDS = 0.05
LONGEST_POLL_SECONDS = 2.0
_POLL_SHARE = 0.1
TERMINAL_STATUSES = frozenset({"COMPLETED", "FAILED", "CANCELLED"})
_NEVER_HEARD = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; the names of its headers are in lower case."""

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_good(self) -> bool:
        """Whether the status is of the class 2xx."""
        return HTTPStatus(200) <= self.status < HTTPStatus(300)

    def value(self) -> Json:
        """Return the value of the body.

        Raises:
            ValueError: the body is not JSON.
        """
        return json.loads(self.body)


def read[Wanted](call: Call[Wanted], answer: Answer, url: str) -> Wanted:
    """Return the decoded answer to a call.

    Raises:
        Refused: the server refused the call.
        UnexpectedAnswer: the answer is not of a NoETL server.
    """
    if not answer.is_good:
        raise refused(answer, url)
    try:
        found: Wanted = _adapter(cast("Hashable", call.answer)).validate_json(answer.body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the answer"
        raise UnexpectedAnswer(
            f"{url} doesn't answer as a NoETL server does: {call.method} {call.path}: "
            f"{place}: {first['msg']}"
        ) from None
    return found


def refused(answer: Answer, url: str) -> Refused | UnexpectedAnswer:
    """Return the error for an answer whose status is not good."""
    if HTTPStatus(300) <= answer.status < HTTPStatus(400):
        to = answer.headers.get("location", "elsewhere")
        return UnexpectedAnswer(f"{url} redirects to {to}: use that address instead")
    detail, hint = _reason(answer)
    return refusal(answer.status, detail, hint=hint, retry_after=_retry_after(answer))


def _reason(answer: Answer) -> tuple[str, str | None]:
    try:
        body = answer.value()
    except ValueError:
        shown = answer.body[:_MOST_SHOWN].decode("utf-8", "replace").strip()
        return f"status {answer.status} {shown}".strip(), None
    if not isinstance(body, dict):
        return f"status {answer.status}", None
    reason, hint = body.get("error") or body.get("detail"), body.get("hint")
    if not reason:
        return f"status {answer.status} {str(body)[:_MOST_SHOWN]}", None
    return str(reason), hint if isinstance(hint, str) and hint else None


def _retry_after(answer: Answer) -> float | None:
    try:
        return max(0.0, float(answer.headers.get("retry-after", "")))
    except ValueError:
        return None


@cache
def _adapter(wanted: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast("type[Any]", wanted))


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
    """Return the error for an address that the HTTP client rejects."""
    return BadAddress(f"{connection.url} is not a valid address of a server: {error}")


def request_of(client: httpx.Client | httpx.AsyncClient, call: Call[object]) -> httpx.Request:
    """Return the HTTP request of a call."""
    headers = {} if call.body is None else {"content-type": "application/json"}
    if call.key is not None:
        headers["idempotency-key"] = call.key
    return client.build_request(
        call.method, call.path, params=dict(call.query), content=call.body, headers=headers
    )


def answer_of(response: httpx.Response) -> Answer:
    """Return the answer in a response whose body has been read."""
    return Answer(response.status_code, response.content, dict(response.headers))


def unreachable(url: str, error: httpx.RequestError) -> Unreachable:
    """Return the error for a call without an answer."""
    reason = str(error) or type(error).__name__
    return Unreachable(
        f"no answer from {url}: {reason}", was_heard=not isinstance(error, _NEVER_HEARD)
    )


def pause_before_next(
    call: Call[object], trouble: ClientError, made: int, connection: Connection
) -> float:
    """Return the pause before a failed call is retried.

    Raises:
        ClientError: ``trouble`` itself, if the call must not be retried.
    """
    is_safe = call.again is Again.SAFE
    if isinstance(trouble, Unreachable):
        may_repeat, retry_after = is_safe or not trouble.was_heard, None
    elif isinstance(trouble, Busy):
        # A server that answers 429 has not executed any part of the call.
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
    """Return the pause between two polls of an execution: a tenth of the time waited so far."""
    return max(0.0, min(max(waited * _POLL_SHARE, POLL_SECONDS), LONGEST_POLL_SECONDS, left))
