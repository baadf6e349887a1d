"""Rules for outgoing connections to targets that clients and playbooks choose.

A host name is resolved once, its addresses are checked, and the connection is made to a checked
address. If the name resolves to another address a moment later, that has no effect.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field

from noetl_common.environment.pieces import SettingsPiece

type _Network = ipaddress.IPv4Network | ipaddress.IPv6Network
type _Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_MOST_ADDRESSES = 8


class EgressSettings(SettingsPiece):
    """Allowed targets of connections of playbooks and of the SQL route."""

    egress_allow: str = Field(
        default="",
        description="Networks (`10.0.0.0/8`) and host names (`*.example.com`), separated by "
        "commas, to which tools and the SQL route may connect. If empty, all targets that are not "
        "denied.",
    )
    egress_deny: str = Field(
        default="169.254.0.0/16,fe80::/10,fd00:ec2::254/128,100.100.100.200/32,"
        "metadata.google.internal",
        description="Networks and host names to which tools and the SQL route may not connect; by "
        "default link-local addresses and the metadata services of clouds.",
    )


class EgressRefused(OSError):
    """The rules forbid a connection; the text names the host and the settings."""


@dataclass(frozen=True, slots=True)
class _Rules:
    """Networks and patterns of host names."""

    networks: tuple[_Network, ...] = ()
    patterns: tuple[str, ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Self:
        networks: list[_Network] = []
        patterns: list[str] = []
        for entry in entries:
            try:
                networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                patterns.append(entry.lower())
        return cls(tuple(networks), tuple(patterns))

    def names(self, host: str) -> bool:
        return any(fnmatchcase(host, pattern) for pattern in self.patterns)

    def holds(self, address: _Address) -> bool:
        return any(address in network for network in self.networks)


class Egress:
    """The rules of one process.

    A connection to a denied target is refused. If there is an allow list, a connection is also
    refused unless the list contains the name or the address of its host.
    """

    def __init__(self, *, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> None:
        self._allow = _Rules.parse(allow)
        self._deny = _Rules.parse(deny)
        self._has_allowed = self._allow != _Rules()

    @classmethod
    def from_settings(cls, settings: EgressSettings) -> Self:
        """Return the rules of the settings."""
        return cls(allow=_entries(settings.egress_allow), deny=_entries(settings.egress_deny))

    def check_host(self, host: str) -> None:
        """Check a host name or a literal address.

        This is the check for a connection whose name another process resolves, such as a proxy.

        Raises:
            EgressRefused: a connection to the host is forbidden.
        """
        name = host.strip("[]").rstrip(".").lower()
        address = _literal(name)
        if address is not None:
            self._check(name, address)
        elif self._deny.names(name):
            raise _refused(host)

    async def addresses(self, host: str, port: int) -> list[str]:
        """Resolve a host; return the addresses to connect to, best first.

        Raises:
            EgressRefused: a connection to the host, or to one of its addresses, is forbidden.
            OSError: the name does not resolve.
        """
        self.check_host(host)
        name = host.strip("[]").rstrip(".").lower()
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))[:_MOST_ADDRESSES]
        for text in addresses:
            address = _literal(text)
            if address is None:
                raise _refused(host)
            self._check(name, address)
        return addresses

    def check_peer(self, host: str, address: str) -> None:
        """Check the peer of an established connection to a host.

        Raises:
            EgressRefused: a connection to the peer's address is forbidden.
        """
        found = _literal(address)
        if found is not None:
            self._check(host.strip("[]").rstrip(".").lower(), found)

    def _check(self, name: str, address: _Address) -> None:
        for one in _embedded(address):
            if self._deny.holds(one):
                raise _refused(name)
        if self._deny.names(name) or (
            self._has_allowed
            and not self._allow.names(name)
            and not any(self._allow.holds(one) for one in _embedded(address))
        ):
            raise _refused(name)


def _entries(text: str) -> list[str]:
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def _literal(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        pass
    try:
        # Resolvers accept more forms of an address than `ipaddress`: 0xa9fea9fe, 169.254.43518.
        return ipaddress.IPv4Address(socket.inet_aton(text))
    except (OSError, ValueError):
        return None


def _embedded(address: _Address) -> list[_Address]:
    """Return an address and the IPv4 addresses that are embedded in it."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    inner = [address.ipv4_mapped, address.sixtofour]
    if address in _NAT64:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return [address, *(one for one in inner if one is not None)]


def _refused(host: str) -> EgressRefused:
    return EgressRefused(f"{host} may not be connected to (NOETL_EGRESS_ALLOW, NOETL_EGRESS_DENY)")


def is_among(scheme: str, host: str, port: int | None, *, allowed: Iterable[str]) -> bool:
    """Return whether a list of hosts, to which a secret may be sent, contains a target.

    Args:
        scheme: scheme of the target's URL.
        host: host of the URL.
        port: port of the URL; None for the default port of the scheme.
        allowed: hosts; ``host:port`` allows one port only, ``*.example.com`` all hosts below a
            domain.
    """
    host = host.lower().rstrip(".")
    port = port or {"http": 80, "https": 443}.get(scheme)
    return any(_matches(host, port, entry.strip().lower()) for entry in allowed)


def _matches(host: str, port: int | None, entry: str) -> bool:
    if entry.startswith("*."):
        return host.endswith(entry[1:])
    parts = urlsplit(f"//{entry}")
    try:
        wanted = parts.port
    except ValueError:
        return False
    return host == parts.hostname and wanted in {None, port}
