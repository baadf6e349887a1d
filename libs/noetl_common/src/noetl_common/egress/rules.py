"""Rules for outgoing connections: addresses and hosts that are allowed or denied.

A name is resolved once, its addresses are checked, and the connection goes to a checked address: a
name that resolves to another address a moment later can't redirect it.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Self

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
        "commas, that playbooks' tools and the SQL route may connect to; empty for all that is "
        "not denied.",
    )
    egress_deny: str = Field(
        default="169.254.0.0/16,fe80::/10,fd00:ec2::254/128,100.100.100.200/32,"
        "metadata.google.internal",
        description="The same for what they may not connect to: link-local addresses and the "
        "metadata of clouds, unless it says otherwise.",
    )


class EgressRefused(OSError):
    """The connection may not be made; the text names the host and the setting."""


@dataclass(frozen=True, slots=True)
class _Rules:
    """Networks and patterns of host names."""

    networks: tuple[_Network, ...] = ()
    patterns: tuple[str, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[str]) -> Self:
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

    Denied targets are refused. With an allow list, all other targets are refused too: a connection
    needs its host's name or its address on the list.
    """

    def __init__(self, *, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> None:
        self._allow = _Rules.of(allow)
        self._deny = _Rules.of(deny)
        self._has_allowed = self._allow != _Rules()

    @classmethod
    def of(cls, settings: EgressSettings) -> Self:
        """Return the rules of the settings."""
        return cls(allow=_entries(settings.egress_allow), deny=_entries(settings.egress_deny))

    def check_host(self, host: str) -> None:
        """Raise for a name or a literal address that may not be connected to.

        For connections whose name another party resolves, such as a proxy.

        Raises:
            EgressRefused: it may not.
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
            EgressRefused: one of them may not be connected to.
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
        """Raise unless an established connection to a host may be used.

        Raises:
            EgressRefused: the address at its other end may not be connected to.
        """
        found = _literal(address)
        if found is not None:
            self._check(host.strip("[]").rstrip(".").lower(), found)

    def _check(self, name: str, address: _Address) -> None:
        for one in _faces(address):
            if self._deny.holds(one):
                raise _refused(name)
        if self._deny.names(name) or (
            self._has_allowed
            and not self._allow.names(name)
            and not any(self._allow.holds(one) for one in _faces(address))
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
        # Spellings that only resolvers know: 0xa9fea9fe, 169.254.43518.
        return ipaddress.IPv4Address(socket.inet_aton(text))
    except (OSError, ValueError):
        return None


def _faces(address: _Address) -> list[_Address]:
    """Return an address and the addresses embedded in it."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    inner = [address.ipv4_mapped, address.sixtofour]
    if address in _NAT64:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return [address, *(one for one in inner if one is not None)]


def _refused(host: str) -> EgressRefused:
    return EgressRefused(f"{host} may not be connected to (NOETL_EGRESS_ALLOW, NOETL_EGRESS_DENY)")
