"""Hosts that a secret may be sent to."""

from collections.abc import Iterable
from urllib.parse import urlsplit

import httpx
from noetl_common.egress import is_among


def may_be_sent(url: str, allowed: Iterable[str] | None) -> bool:
    """Return whether a secret may go to a URL.

    Args:
        url: the target; one that is no URL gets no secret.
        allowed: hosts, as `is_among` reads them; None for everywhere.
    """
    if allowed is None:
        return True
    try:
        target = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        return False
    return is_among(target.scheme, target.host, target.port, allowed=allowed)


def addresses_of(*urls: str) -> tuple[str, ...]:
    """Return ``host:port`` of those addresses that are any."""
    return tuple(address for url in urls if (address := _address_of(url)) is not None)


def _address_of(url: str) -> str | None:
    parts = urlsplit(url)
    if not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
