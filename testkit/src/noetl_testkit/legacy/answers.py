"""Refusals and times, as that server writes them."""

from datetime import UTC, datetime

from noetl_testkit.web import Response


def refused(status: int, text: str) -> Response:
    """Return a refusal."""
    return Response({"error": text, "status": status}, status)


def now() -> str:
    """Return this moment."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
