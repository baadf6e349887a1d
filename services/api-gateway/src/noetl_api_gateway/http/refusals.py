"""Refusals of the edge; `errors.py` turns these into bodies."""

from collections.abc import Mapping

from noetl_contract.json import Json

RETRY_AFTER = "retry-after"


class Refusal(Exception):
    """An answer other than 2xx: status, text, structured detail and headers."""

    def __init__(
        self,
        status: int,
        text: str,
        *,
        detail: Json = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.detail = detail
        self.headers = dict(headers or {})


def not_json() -> Refusal:
    """Return the 415: the content type is not JSON."""
    return Refusal(415, "Expected request with `Content-Type: application/json`")


def bad_json(reason: str) -> Refusal:
    """Return the 400: the body is not JSON at all."""
    return Refusal(400, f"Failed to parse the request body as JSON: {reason}")


def bad_shape(reason: str) -> Refusal:
    """Return the 422: JSON of another shape than the route's."""
    return Refusal(422, f"Failed to deserialize the JSON body into the target type: {reason}")


def bad_query(reason: str) -> Refusal:
    """Return the 400: a query parameter does not parse."""
    return Refusal(400, f"Failed to deserialize query string: {reason}")


def bad_url(reason: str) -> Refusal:
    """Return the 400: a path segment does not parse."""
    return Refusal(400, f"Invalid URL: {reason}")


def body_too_large() -> Refusal:
    """Return the 413: more bytes than the route takes."""
    return Refusal(413, "Failed to buffer the request body: length limit exceeded")


def unavailable(text: str, *, retry_after_seconds: int = 1) -> Refusal:
    """Return the 503: a service or the broker did not answer in time; a retry may help."""
    return Refusal(503, text, headers={RETRY_AFTER: str(retry_after_seconds)})


def busy(text: str, *, retry_after_seconds: int = 2) -> Refusal:
    """Return the 503: more work is waiting than the edge holds."""
    return unavailable(text, retry_after_seconds=retry_after_seconds)
