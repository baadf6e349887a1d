"""Address of a PostgreSQL database, and the login there.

There is no default: no step is connected to a database that no configuration names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from noetl_pg.address import SSL_MODES, AddressInvalid, is_ssl_mode, port_of, read_address

from noetl_worker.tools.sql.fields import SqlFields
from noetl_worker.tools.tool import ToolError

_DEFAULT_PORT = 5432
_DEFAULT_NAME = "postgres"
_SSL_FIELDS = ("sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslpassword")
_LIBPQ_ONLY = frozenset(
    {
        "channel_binding", "client_encoding", "connect_timeout", "fallback_application_name",
        "gssencmode", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval",
        "load_balance_hosts", "tcp_user_timeout",
    }
)  # fmt: skip
_REFUSED = frozenset({"hostaddr", "passfile", "service", "servicefile"})


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
    try:
        found = read_address(text)
        # The query of a URL wins over its other parts.
        parts = found.login | found.options
        if not parts.get("host"):
            raise _refused("it has no host")
        port = port_of(parts.pop("port", "") or str(_DEFAULT_PORT))
    except AddressInvalid as error:
        raise _refused(error.reason) from None
    named = {name: parts.pop(name, "") for name in ("host", "user", "password", "dbname")}
    return PgAddress(
        host=named["host"],
        port=port,
        user=named["user"] or _DEFAULT_NAME,
        password=named["password"] or password or "",
        database=named["dbname"] or _DEFAULT_NAME,
        options=_checked(parts.items()),
    )


def _checked(options: Any) -> tuple[tuple[str, str], ...]:
    kept: list[tuple[str, str]] = []
    for name, value in options:
        if name in _REFUSED:
            raise _refused(f"`{name}` is not supported")
        if name == "sslmode" and not is_ssl_mode(value):
            raise _refused(f"sslmode `{value}` is not one of {', '.join(SSL_MODES)}")
        if name not in _LIBPQ_ONLY:
            kept.append((name, value))
    return tuple(sorted(kept))


def _refused(reason: str) -> ToolError:
    """Return an error that doesn't quote the address: it holds a password."""
    return ToolError("Configuration error", f"postgres connection is not valid: {reason}")
