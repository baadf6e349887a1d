"""Hosts that a secret may be sent to."""

from collections.abc import Iterable
from urllib.parse import urlsplit


def is_among(scheme: str, host: str, port: int | None, *, allowed: Iterable[str]) -> bool:
    """Return whether a target is on a list of allowed hosts.

    Args:
        scheme: of the target's URL.
        host: of it.
        port: of it; None for the scheme's own.
        allowed: hosts, with a port where only that one is meant, or ``*.example.com`` for all
            below.
    """
    host = host.lower().rstrip(".")
    port = port or {"http": 80, "https": 443}.get(scheme)
    return any(_fits(host, port, entry.strip().lower()) for entry in allowed)


def _fits(host: str, port: int | None, entry: str) -> bool:
    if entry.startswith("*."):
        return host.endswith(entry[1:])
    parts = urlsplit(f"//{entry}")
    try:
        wanted = parts.port
    except ValueError:
        return False
    return host == parts.hostname and wanted in {None, port}
