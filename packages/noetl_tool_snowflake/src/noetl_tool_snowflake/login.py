"""Logins, read from a configuration; errors name the configuration's fields."""

import re
from base64 import b64decode
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
    load_pem_public_key,
)
from noetl_worker.tools.errors import ToolError
from noetl_worker.tools.sql.fields import SqlFields

_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)*")
_OWN = re.compile(r"[a-z0-9][a-z0-9.-]*\.snowflakecomputing\.(com|cn)")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """One user of one account, and where statements begin.

    Attributes:
        account: its name, without a region.
        private_key: in DER, not encrypted; None for a login with a password.
    """

    account: str
    host: str
    port: int
    protocol: str
    user: str
    password: str | None = field(default=None, repr=False)
    private_key: bytes | None = field(default=None, repr=False)
    warehouse: str | None = None
    database: str | None = None
    schema: str | None = None
    role: str | None = None


def login_of(fields: SqlFields, *, servers: frozenset[str]) -> Login:
    """Read a login; nothing is connected.

    Args:
        fields: a tool's configuration, or a place of `transfer`, with its credential.
        servers: servers that may be named beside Snowflake's own, as `https://host:port`.

    Raises:
        ToolError: a field is missing or wrong; its value is never shown.
    """
    account, user = fields.optional_text("account"), fields.login("user")
    if not account:
        raise _wrong("account", "is needed, in the configuration or in its credential")
    if not user:
        raise _wrong("user", "is needed, in the configuration or in its credential")
    if _ACCOUNT.fullmatch(account) is None:
        raise _wrong("account", "is no name of an account, as organization-name or its locator")
    host, port, protocol = _server(fields, account, servers)
    password = fields.login("password")
    private_key = _private_key(fields)
    if private_key is None and not password:
        raise _wrong("password", "is needed, or private_key: in the credential, best of all")
    return Login(
        account=account.partition(".")[0],
        host=host,
        port=port,
        protocol=protocol,
        user=user,
        password=None if private_key is not None else password,
        private_key=private_key,
        warehouse=fields.optional_text("warehouse") or "COMPUTE_WH",
        database=fields.optional_text("database") or None,
        schema=fields.optional_text("schema") or "PUBLIC",
        role=fields.optional_text("role") or None,
    )


def _server(fields: SqlFields, account: str, servers: frozenset[str]) -> tuple[str, int, str]:
    protocol = fields.choice("protocol", ("http", "https"), default="https")
    host = (fields.optional_text("host") or _host_of(account)).lower().rstrip(".")
    port = fields.port("port") or _PORTS[protocol]
    is_own = _OWN.fullmatch(host) is not None and (protocol, port) == ("https", 443)
    # Its server says where results lie, and the driver goes there: so it has to be trusted.
    if not is_own and f"{protocol}://{host}:{port}" not in servers:
        raise _wrong(
            "host",
            "is neither Snowflake's nor one of NOETL_WORKER_SNOWFLAKE_SERVERS, with protocol and "
            "port",
        )
    return host, port, protocol


def _host_of(account: str) -> str:
    ending = "cn" if ".cn-" in account.lower() else "com"
    return f"{account.replace('_', '-')}.snowflakecomputing.{ending}"


def _private_key(fields: SqlFields) -> bytes | None:
    """Return the key in DER; checked here, so that the error for a wrong one names its field."""
    text = fields.optional_text("private_key")
    if not text:
        return None
    phrase = fields.login("private_key_passphrase")
    secret = phrase.encode() if phrase else None
    try:
        if "-----BEGIN" in text:
            key = load_pem_private_key(text.encode(), password=secret)
        else:
            key = load_der_private_key(b64decode(text, validate=True), password=secret)
    except TypeError:
        what = "opens a key that isn't encrypted" if secret else "is needed for this private_key"
        raise _wrong("private_key_passphrase", what) from None
    except (ValueError, UnsupportedAlgorithm):
        if secret is not None:
            raise _wrong("private_key_passphrase", "doesn't open the private_key") from None
        raise _wrong("private_key", "is no private key in PEM or base64") from None
    if not isinstance(key, RSAPrivateKey):
        raise _wrong("private_key", "is no RSA key")
    _check_public(fields, key)
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _check_public(fields: SqlFields, key: RSAPrivateKey) -> None:
    text = fields.optional_text("public_key")
    if not text:
        return
    try:
        given = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise _wrong("public_key", "is no public key in PEM") from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if given.public_bytes(*form) != key.public_key().public_bytes(*form):
        raise _wrong("public_key", "belongs to another private_key")


def _wrong(name: str, problem: str) -> ToolError:
    return ToolError("Configuration error", f"snowflake: {name} {problem}")
