"""Host names of this server, and origins of pages that may change something.

A foreign page reaches a server on the reader's own machine or network by DNS rebinding: its own
name gets that server's address. The header `Host` then has the foreign name, so only our own names
are answered; addresses always are. And a page may post across origins without reading the answer:
so requests that change something need an origin that is ours.
"""

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from noetl_api_gateway.intake_settings import is_loopback

_MOST_KNOWN = 1000
_CONTAINER_HOSTS = (".docker.internal", ".containers.internal")
_CLUSTER_HOSTS = (".svc", ".svc.cluster.local")
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class ServerNames:
    """The names of this server.

    Args:
        given: names from settings; `*.example.org` stands for all below, `*` for any.
        bound_to: address that the port is bound to.
    """

    def __init__(self, given: Iterable[str], *, bound_to: str) -> None:
        names = {name.lower().rstrip(".") for name in given}
        self._is_any = "*" in names
        self._below = tuple(name[1:] for name in names if name.startswith("*."))
        machine = socket.gethostname().lower()
        self._own = names | {machine, machine.partition(".")[0]}
        self._is_near = is_loopback(bound_to)
        self._known: dict[bytes, bool] = {}

    def has(self, host: bytes) -> bool:
        """Return whether a header `Host` names this server; cached, as each request needs it."""
        known = self._known.get(host)
        if known is None:
            known = self._is_any or self.is_ours(_name(host))
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[host] = known
        return known

    def is_given(self, name: str) -> bool:
        """Return whether an operator has configured a name for this server."""
        return name in self._own or name.endswith(self._below)

    def is_ours(self, name: str) -> bool:
        """Return whether a name without its port, in lower case, is one of ours."""
        if self.is_given(name) or is_loopback(name) or name.endswith(_CONTAINER_HOSTS):
            return True
        if _is_address(name):
            return True
        # These names can't be registered outside of a private network.
        return not self._is_near and bool(name) and ("." not in name or _is_cluster(name))


class Origins:
    """Origins of pages that may read answers, or change something.

    Args:
        listed: origins from settings.
        names: names of this server; a page of one of the given ones is ours.
        is_open: whether no login is needed, so that pages on loopback may read by default.
    """

    def __init__(self, listed: Iterable[str], names: ServerNames, *, is_open: bool) -> None:
        self._listed = frozenset(listed)
        self._names = names
        self._is_open = is_open

    def may_read(self, origin: str) -> bool:
        """Return whether a page of another origin may read answers."""
        if self._listed:
            return origin in self._listed
        return self._is_open and is_loopback(_host_of(origin))

    def may_change(
        self, method: str, *, origin: bytes | None, site: bytes | None, host: bytes | None
    ) -> bool:
        """Return whether a request is allowed: those of foreign pages may only read.

        Args:
            method: of the request.
            origin: header `Origin`, which pages send with all that changes something.
            site: header `Sec-Fetch-Site`.
            host: header `Host`, one of our names.
        """
        if method in _READING:
            return True
        if origin is None:
            return site != b"cross-site"
        text = origin.decode("latin-1").lower()
        if text in self._listed:
            return True
        name = _host_of(text)
        if is_loopback(name) or (name and self._names.is_given(name)):
            return True
        return host is not None and text.partition("://")[2] == host.decode("latin-1").lower()


def _name(host: bytes) -> str:
    """Return a host without its port, in lower case; an address of IPv6 in its brackets."""
    text = host.decode("latin-1").strip().lower()
    name = text[: text.find("]") + 1] if text.startswith("[") else text.partition(":")[0]
    return name.rstrip(".")


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _is_cluster(name: str) -> bool:
    return name.endswith(_CLUSTER_HOSTS)
