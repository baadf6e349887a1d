"""Where a secret may be sent."""

from collections.abc import Iterable
from urllib.parse import urlsplit

import httpx


def may_be_sent(url: str, allowed: Iterable[str] | None) -> bool:
    """Whether a secret may go to a URL.

    Args:
        url: the target; one that is no URL gets no secret.
        allowed: hosts, with a port where only that one is meant, or ``*.example.com`` for all
            below; None for everywhere.
    """
    if allowed is None:
        return True
    try:
        target = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        return False
    host = target.host.lower().rstrip(".")
    port = target.port or {"http": 80, "https": 443}.get(target.scheme)
    return any(_fits(host, port, entry.strip().lower()) for entry in allowed)


def addresses_of(*urls: str) -> tuple[str, ...]:
    """Return ``host:port`` of those addresses that are any."""
    return tuple(address for url in urls if (address := _address_of(url)) is not None)


def _address_of(url: str) -> str | None:
    parts = urlsplit(url)
    if not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def _fits(host: str, port: int | None, entry: str) -> bool:
    if entry.startswith("*."):
        return host.endswith(entry[1:])
    parts = urlsplit(f"//{entry}")
    try:
        wanted = parts.port
    except ValueError:
        return False
    return host == parts.hostname and wanted in {None, port}
