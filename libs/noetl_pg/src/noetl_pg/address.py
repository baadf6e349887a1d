"""Connection strings of PostgreSQL: URLs and ``key=value`` pairs."""

import re
from dataclasses import dataclass, field
from typing import Literal, TypeIs, get_args
from urllib.parse import parse_qsl, unquote, urlsplit

from noetl_common.errors import Invalid

type SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]

SSL_MODES: tuple[str, ...] = get_args(SslMode.__value__)
_SCHEMES = frozenset({"postgres", "postgresql"})
_LOGIN = ("host", "port", "user", "password", "dbname")
_MOST_PORT = 65535
_PAIR = re.compile(r"\s*(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))\s*", re.DOTALL)


class AddressInvalid(Invalid):
    """A malformed connection string; the message doesn't quote it, as it may hold a password."""

    template = "{reason}"

    def __init__(self, reason: str) -> None:
        super().__init__(reason=reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ConnectionString:
    """Parts of a connection string, as text and without defaults.

    Attributes:
        login: host, port, user, password and dbname, as far as the string has them.
        options: the query of a URL, or all other pairs.
    """

    login: dict[str, str] = field(repr=False)
    options: dict[str, str] = field(repr=False)


def read_address(text: str) -> ConnectionString:
    """Parse a URL (``postgres://…``) or pairs (``host=… user=…``), like libpq.

    Raises:
        AddressInvalid: the text is neither.
    """
    text = text.strip()
    return _parse_url(text) if "://" in text else _parse_pairs(text)


def port_of(text: str) -> int:
    """Parse a port number.

    Raises:
        AddressInvalid: the text is not a port number.
    """
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= _MOST_PORT):
        raise AddressInvalid("its port is no port number")
    return int(text)


def is_ssl_mode(text: str) -> TypeIs[SslMode]:
    """Return whether a word is one of libpq's TLS modes."""
    return text in SSL_MODES


def _parse_url(text: str) -> ConnectionString:
    try:
        url = urlsplit(text)
    except ValueError:
        raise AddressInvalid("it is no valid URL") from None
    if url.scheme not in _SCHEMES:
        raise AddressInvalid("its scheme is not `postgres` or `postgresql`")
    login, _, place = url.netloc.rpartition("@")
    user, _, password = login.partition(":")
    host, port = _host_and_port(place)
    if port:
        port_of(port)
    parts = {
        "host": unquote(host),
        "port": port,
        "user": unquote(user),
        "password": unquote(password),
        "dbname": unquote(url.path.removeprefix("/")),
    }
    options = _with_dbname(dict(parse_qsl(url.query, keep_blank_values=True)))
    return ConnectionString({name: value for name, value in parts.items() if value}, options)


def _host_and_port(place: str) -> tuple[str, str]:
    if "," in place:
        raise AddressInvalid("it names several hosts")
    if place.startswith("["):
        host, _, rest = place[1:].partition("]")
        return host, rest.removeprefix(":")
    host, _, port = place.partition(":")
    return host, port


def _parse_pairs(text: str) -> ConnectionString:
    parts: dict[str, str] = {}
    position = 0
    while position < len(text):
        found = _PAIR.match(text, position)
        if found is None:
            raise AddressInvalid("it is neither a URL nor pairs like `host=… user=…`")
        quoted = found[2]
        value = found[3] if quoted is None else quoted
        parts[found[1]] = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
        position = found.end()
    parts = _with_dbname(parts)
    if "," in parts.get("host", ""):
        raise AddressInvalid("it names several hosts")
    login = {name: parts.pop(name) for name in _LOGIN if name in parts}
    return ConnectionString(login, parts)


def _with_dbname(parts: dict[str, str]) -> dict[str, str]:
    """Return the parts with the name of the database under libpq's keyword."""
    if "database" in parts:
        parts["dbname"] = parts.pop("database")
    return parts
