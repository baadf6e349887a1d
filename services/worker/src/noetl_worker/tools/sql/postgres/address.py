"""Where a PostgreSQL database is, and how one gets in.

There is no default: nobody is connected to a database that no configuration names.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from noetl_worker.tools.sql.fields import SqlFields
from noetl_worker.tools.tool import ToolError

_DEFAULT_PORT = 5432
_DEFAULT_NAME = "postgres"
_SSL_FIELDS = ("sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslpassword")
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_LIBPQ_ONLY = frozenset(
    {
        "channel_binding", "client_encoding", "connect_timeout", "fallback_application_name",
        "gssencmode", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval",
        "load_balance_hosts", "tcp_user_timeout",
    }
)  # fmt: skip
_REFUSED = frozenset({"hostaddr", "passfile", "service", "servicefile"})
_PAIR = re.compile(r"\s*(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))\s*", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class PgAddress:
    """One database and one login; equal addresses may share connections."""

    host: str
    port: int = _DEFAULT_PORT
    user: str = _DEFAULT_NAME
    password: str = field(default="", repr=False)
    database: str = _DEFAULT_NAME
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """TLS options and server settings."""

    def arguments(self) -> dict[str, Any]:
        """Return the driver's arguments; all of them, or it would ask the environment."""
        options = {"sslmode": "prefer", "application_name": "noetl-worker", **dict(self.options)}
        if self.host.startswith("/"):
            options["sslmode"] = "disable"
        return {
            "dsn": f"postgresql://?{urlencode(options)}",
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "database": self.database,
        }


def address_of(
    config: Mapping[str, Any], *, secrets: Mapping[str, str], kind: str = "postgres"
) -> PgAddress:
    """Return the address a configuration names, by ``connection_string`` or by its parts.

    Raises:
        ToolError: it names none, or not well.
    """
    fields = SqlFields(dict(config), kind=kind)
    text = fields.optional_text("connection_string")
    password = fields.login("password")
    if password is not None:
        password = secrets.get(password, password)
    if text:
        return parse_address(text, password=password)
    host = fields.optional_text("host")
    if not host:
        raise ToolError(
            "Configuration error",
            f"{kind} has no connection: no credential in `auth`, no `connection_string` "
            "and no `host`",
        )
    options = [
        (name, value) for name in _SSL_FIELDS if (value := fields.optional_text(name)) is not None
    ]
    return PgAddress(
        host=host,
        port=fields.port("port") or _DEFAULT_PORT,
        user=fields.login("user") or _DEFAULT_NAME,
        password=password or "",
        database=fields.login("database") or _DEFAULT_NAME,
        options=_checked(options),
    )


def parse_address(text: str, *, password: str | None = None) -> PgAddress:
    """Return the address of a URL (``postgres://…``) or of pairs (``host=… user=…``).

    Raises:
        ToolError: it is neither, or has no host.
    """
    text = text.strip()
    parts = _parts_of_url(text) if "://" in text else _parts_of_pairs(text)
    if not parts.get("host"):
        raise _refused("it has no host")
    port = parts.pop("port", "") or str(_DEFAULT_PORT)
    if not port.isdecimal() or not 0 < int(port) <= 65535:
        raise _refused("its port is no port number")
    named = {name: parts.pop(name, "") for name in ("host", "user", "password", "dbname")}
    return PgAddress(
        host=named["host"],
        port=int(port),
        user=named["user"] or _DEFAULT_NAME,
        password=named["password"] or password or "",
        database=named["dbname"] or _DEFAULT_NAME,
        options=_checked(parts.items()),
    )


def _parts_of_url(text: str) -> dict[str, str]:
    try:
        url = urlsplit(text)
    except ValueError:
        raise _refused("it is no valid URL") from None
    if url.scheme not in {"postgres", "postgresql"}:
        raise _refused("its scheme is not `postgres` or `postgresql`")
    login, _, place = url.netloc.rpartition("@")
    user, _, password = login.partition(":")
    host, port = _host_and_port(place)
    parts = {
        "host": unquote(host),
        "port": port,
        "user": unquote(user),
        "password": unquote(password),
        "dbname": unquote(url.path.removeprefix("/")),
    }
    asked = dict(_query(url))
    if "database" in asked:
        asked["dbname"] = asked.pop("database")
    return parts | asked


def _query(url: SplitResult) -> list[tuple[str, str]]:
    return parse_qsl(url.query, keep_blank_values=True)


def _host_and_port(place: str) -> tuple[str, str]:
    if "," in place:
        raise _refused("it names several hosts")
    if place.startswith("["):
        host, _, rest = place[1:].partition("]")
        return host, rest.removeprefix(":")
    host, _, port = place.partition(":")
    return host, port


def _parts_of_pairs(text: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    position = 0
    while position < len(text):
        found = _PAIR.match(text, position)
        if found is None:
            raise _refused("it is neither a URL nor pairs like `host=… user=…`")
        quoted = found.group(2)
        value = found.group(3) if quoted is None else quoted
        parts[found.group(1)] = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
        position = found.end()
    if "," in parts.get("host", ""):
        raise _refused("it names several hosts")
    return parts


def _checked(options: Any) -> tuple[tuple[str, str], ...]:
    kept: list[tuple[str, str]] = []
    for name, value in options:
        if name in _REFUSED:
            raise _refused(f"`{name}` is not supported")
        if name == "sslmode" and value not in _SSL_MODES:
            raise _refused(f"sslmode `{value}` is not one of {', '.join(_SSL_MODES)}")
        if name not in _LIBPQ_ONLY:
            kept.append((name, value))
    return tuple(sorted(kept))


def _refused(reason: str) -> ToolError:
    """Return an error that doesn't quote the address: it holds a password."""
    return ToolError("Configuration error", f"postgres connection is not valid: {reason}")
