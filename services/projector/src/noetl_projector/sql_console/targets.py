"""The database that a request of the SQL route names."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from noetl_contract.json import Json
from noetl_pg.address import AddressInvalid, SslMode, is_ssl_mode, port_of, read_address

from noetl_projector.sql_console.allowed import StatementRefused


@dataclass(frozen=True, slots=True)
class Target:
    """Address and login of a database; absent parts are those of the service's own database."""

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
    try:
        found = read_address(connection_string)
    except AddressInvalid:
        raise StatementRefused(reason="Invalid connection_string") from None
    if not found.login.get("host") and ("://" in connection_string or not found.login):
        raise StatementRefused(reason="Invalid connection_string")
    return _of_parts(found.login, sslmode=found.options.get("sslmode"))


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
    parts: dict[str, str] = {}
    for name, keys in wanted.items():
        value = next((data[key] for key in keys if data.get(key) not in (None, "")), None)
        if value is not None:
            parts[name] = str(value)
    if "host" not in parts:
        raise StatementRefused(reason="The credential names no host")
    sslmode = parts.pop("sslmode", None)
    return _of_parts(parts, sslmode=sslmode)


def _of_parts(login: Mapping[str, str], *, sslmode: str | None) -> Target:
    try:
        port = port_of(login["port"]) if "port" in login else None
    except AddressInvalid:
        raise StatementRefused(reason="Invalid port of the connection") from None
    if sslmode is not None and not is_ssl_mode(sslmode):
        raise StatementRefused(reason="Invalid sslmode of the connection")
    if login.get("host", "").startswith("/"):
        raise StatementRefused(reason="The connection must name a host, not a path")
    return Target(
        host=login.get("host"),
        port=port,
        user=login.get("user"),
        password=login.get("password"),
        database=login.get("dbname"),
        sslmode=sslmode,
    )
