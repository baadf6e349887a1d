"""The database that a request of the SQL route names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from noetl_contract.json import Json

from noetl_projector.sql_console.text import StatementRefused

type SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]

_PAIR = re.compile(r"\s*(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|[^\s']*)")
_SCHEMES = frozenset({"postgres", "postgresql"})
_NAMES = {
    "host": "host",
    "port": "port",
    "user": "user",
    "password": "password",
    "dbname": "database",
    "database": "database",
    "sslmode": "sslmode",
}
_SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect; absent parts are those of the service's own database."""

    host: str | None = None
    port: int | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    sslmode: SslMode | None = None


def target_of_text(connection_string: str) -> Target:
    """Read a connection string, an address or ``key=value`` pairs.

    Only server and login are taken: a request must not make the service read files.

    Raises:
        StatementRefused: the text is unreadable; the error does not quote it, it may hold a
            password.
    """
    if "://" in connection_string:
        return _of_address(connection_string)
    pairs: dict[str, str] = {}
    end = 0
    for match in _PAIR.finditer(connection_string):
        if connection_string[end : match.start()].strip():
            raise StatementRefused(reason="Invalid connection_string")
        value = match[2]
        if value.startswith("'"):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        pairs[match[1]] = value
        end = match.end()
    if not pairs or connection_string[end:].strip():
        raise StatementRefused(reason="Invalid connection_string")
    return _of_pairs(pairs)


def target_of_credential(data: Mapping[str, Json]) -> Target:
    """Read the data of a credential of type postgres."""
    wanted = {
        "host": ("db_host", "host"),
        "port": ("db_port", "port"),
        "user": ("db_user", "user"),
        "password": ("db_password", "password"),
        "dbname": ("db_name", "dbname", "database"),
        "sslmode": ("sslmode",),
    }
    pairs: dict[str, str] = {}
    for name, keys in wanted.items():
        value = next((data[key] for key in keys if data.get(key) not in (None, "")), None)
        if value is not None:
            pairs[name] = str(value)
    if "host" not in pairs:
        raise StatementRefused(reason="The credential names no host")
    return _of_pairs(pairs)


def _of_address(address: str) -> Target:
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise StatementRefused(reason="Invalid connection_string") from None
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise StatementRefused(reason="Invalid connection_string")
    pairs = {"host": parts.hostname}
    if port is not None:
        pairs["port"] = str(port)
    for name, value in (("user", parts.username), ("password", parts.password)):
        if value is not None:
            pairs[name] = unquote(value)
    if parts.path.strip("/"):
        pairs["dbname"] = unquote(parts.path.strip("/"))
    if modes := parse_qs(parts.query).get("sslmode"):
        pairs["sslmode"] = modes[0]
    return _of_pairs(pairs)


def _of_pairs(pairs: Mapping[str, str]) -> Target:
    parts: dict[str, Any] = {_NAMES[name]: value for name, value in pairs.items() if name in _NAMES}
    if "port" in parts:
        if not (parts["port"].isascii() and parts["port"].isdigit()):
            raise StatementRefused(reason="Invalid port of the connection")
        parts["port"] = int(parts["port"])
    if parts.get("sslmode") not in {None, *_SSL_MODES}:
        raise StatementRefused(reason="Invalid sslmode of the connection")
    if str(parts.get("host", "")).startswith("/"):
        raise StatementRefused(reason="The connection must name a host, not a path")
    return Target(**parts)
