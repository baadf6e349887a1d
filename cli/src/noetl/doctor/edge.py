"""What the edge answers to a client."""

import os
from collections.abc import Iterator

import httpx

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
        with httpx.Client(base_url=url, timeout=_SECONDS, trust_env=False) as client:
            findings += _login(client, url, token)
            findings += _health(client, url)
            findings += _internal(client, url)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        text = f"no answer from {url} in {_SECONDS:.0f} s: {error or type(error).__name__}"
        findings.append(Finding("edge_unreachable", url, text))
    return findings


def _health(client: httpx.Client, url: str) -> Iterator[Finding]:
    answer = client.get("/api/health")
    try:
        body = answer.json()
        status, said = body["status"], ", ".join(f"{one} {body[one]}" for one in _PARTS)
    except (ValueError, KeyError, TypeError):
        said = f"status {answer.status_code}"
        if answer.status_code < _SERVER_ERROR:
            kind = answer.headers.get("content-type", "nothing")
            text = f"{url}/api/health answers {said} with {kind}, not as an edge does"
            yield Finding("edge_foreign", url, text)
            return
        status = None
    if not answer.is_success or status != "ok":
        yield Finding("edge_unhealthy", url, f"{url} says: {said}")


def _login(client: httpx.Client, url: str, token: str) -> Iterator[Finding]:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    # No service is asked for this answer, so a silent one doesn't look like a refused login.
    answer = client.get("/api/status", headers=headers)
    if answer.status_code in {_UNAUTHORIZED, _FORBIDDEN}:
        shown = "the token" if token else "no token"
        yield Finding("login_refused", url, f"{url} refuses {shown}: {_reason(answer)}")


def _internal(client: httpx.Client, url: str) -> Iterator[Finding]:
    token = os.environ.get(INTERNAL_TOKEN, "").strip()
    if not token:
        return
    headers = {"authorization": f"Bearer {token}"}
    try:
        answer = client.get("/api/internal/outbox/pending-count", headers=headers)
    except httpx.TimeoutException:
        return  # it was let in, and a service is silent
    is_unset = answer.status_code == _UNAVAILABLE and INTERNAL_TOKEN in answer.text
    if answer.status_code in {_UNAUTHORIZED, _FORBIDDEN} or is_unset:
        text = f"{url} refuses {INTERNAL_TOKEN}: {_reason(answer)}"
        yield Finding("internal_token_refused", url, text)


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}"
