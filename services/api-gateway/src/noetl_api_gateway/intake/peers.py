"""The client address of a request: the peer's, or that in a trusted proxy's header."""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

type Address = ipaddress.IPv4Address | ipaddress.IPv6Address
type Network = ipaddress.IPv4Network | ipaddress.IPv6Network

CLIENT = "noetl.client"
"""Key of a scope for the client's address, if the request came through a trusted proxy."""

_FORWARDED_FOR = b"x-forwarded-for"
_MOST_HOPS = 16


class Proxies:
    """Trusted proxies, whose `X-Forwarded-For` counts.

    Args:
        networks: their addresses.
    """

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._networks = tuple(networks)

    def client_of(self, scope: Mapping[str, Any]) -> str | None:
        """Return the client's address from a trusted proxy's header; None for other peers.

        It is the last one in `X-Forwarded-For` that is no trusted proxy: each proxy appends its
        peer, and the entries before that may be forged. A trusted proxy that names no client is
        itself the client.
        """
        if not self._networks:
            return None
        found = parsed(peer_of(scope))
        if found is None or not self._has(found):
            return None
        values = [value for name, value in scope["headers"] if name == _FORWARDED_FOR]
        hops = b",".join(values).decode("latin-1").rsplit(",", _MOST_HOPS)[-_MOST_HOPS:]
        for hop in reversed(hops):
            named = parsed(_without_port(hop.strip()))
            if named is None:
                break
            found = named
            if not self._has(found):
                break
        return str(found)

    def _has(self, address: Address) -> bool:
        return any(
            address.version == network.version and address in network for network in self._networks
        )


def peer_of(scope: Mapping[str, Any]) -> str:
    """Return the address at the other end of the connection."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def address_of(scope: Mapping[str, Any]) -> str:
    """Return the address of the client of a request."""
    named: str | None = scope.get(CLIENT)
    return peer_of(scope) if named is None else named


def parsed(text: str) -> Address | None:
    """Parse an IP address, an IPv4-mapped one as IPv4; None for any other text."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _without_port(text: str) -> str:
    """Return an address as some proxies write it: `10.0.0.1:80`, `[::1]:80`."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
