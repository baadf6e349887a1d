"""Checks of the edge, made as its clients."""

import os
from collections.abc import Iterator

from noetl_client import Client, ClientError, Connection, Retries, Unreachable
from noetl_client.calls.call import get
from noetl_client.transport import Answer

from noetl.doctor.finding import Finding

INTERNAL_TOKEN = "NOETL_INTERNAL_API_TOKEN"  # noqa: S105 -- the name of a variable
_SECONDS = 5.0
_UNAUTHORIZED, _FORBIDDEN, _UNAVAILABLE = 401, 403, 503
_SERVER_ERROR = 500
_PARTS = ("database", "nats")


def look_at_edge(url: str, *, token: str) -> list[Finding]:
    """Ask for the edge's health, and show it the logins that others use."""
    findings: list[Finding] = []
    try:
        findings += _login(url, token)
        findings += _health(url)
        findings += _internal(url)
    except ClientError as error:
        # `no answer from …: why`, or what is wrong with the address.
        why = str(error).removeprefix(f"no answer from {url}: ")
        findings.append(
            Finding("edge_unreachable", url, f"no answer from {url} in {_SECONDS:.0f} s: {why}")
        )
    return findings


def _asked(url: str, path: str, token: str = "") -> Answer:
    """Return the answer to one GET, also a refusal.

    Raises:
        ClientError: there is none.
    """
    around = Connection.from_environment()
    once = Retries(attempts=1)
    with Client(Connection(url, token, ca=around.ca, timeout=_SECONDS, retries=once)) as client:
        return client.exchange(get(path, object))


def _health(url: str) -> Iterator[Finding]:
    answer = _asked(url, "/api/health")
    try:
        body = answer.value()
        status, said = body["status"], ", ".join(f"{one} {body[one]}" for one in _PARTS)
    except (ValueError, KeyError, TypeError):
        said = f"status {answer.status}"
        if answer.status < _SERVER_ERROR:
            kind = answer.headers.get("content-type", "nothing")
            text = f"{url}/api/health answers {said} with {kind}, not as an edge does"
            yield Finding("edge_foreign", url, text)
            return
        status = None
    if not answer.is_good or status != "ok":
        yield Finding("edge_unhealthy", url, f"{url} says: {said}")


def _login(url: str, token: str) -> Iterator[Finding]:
    # No service is asked for this answer, so a silent one doesn't look like a refused login.
    answer = _asked(url, "/api/status", token)
    if answer.status in {_UNAUTHORIZED, _FORBIDDEN}:
        shown = "the token" if token else "no token"
        yield Finding("login_refused", url, f"{url} refuses {shown}: {_reason(answer)}")


def _internal(url: str) -> Iterator[Finding]:
    token = os.environ.get(INTERNAL_TOKEN, "").strip()
    if not token:
        return
    try:
        answer = _asked(url, "/api/internal/outbox/pending-count", token)
    except Unreachable as error:
        if error.was_heard:
            return  # it was let in, and a service is silent
        raise
    is_unset = answer.status == _UNAVAILABLE and INTERNAL_TOKEN.encode() in answer.body
    if answer.status in {_UNAUTHORIZED, _FORBIDDEN} or is_unset:
        text = f"{url} refuses {INTERNAL_TOKEN}: {_reason(answer)}"
        yield Finding("internal_token_refused", url, text)


def _reason(answer: Answer) -> str:
    try:
        return str(answer.value()["error"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status}"
