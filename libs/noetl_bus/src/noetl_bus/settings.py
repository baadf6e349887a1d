"""Settings of the connection to the broker, with its TLS, and of relayed events."""

import ssl
from pathlib import Path
from urllib.parse import unquote, urlsplit

from noetl_common.environment.fast_paths import FastPathSettings
from noetl_common.environment.pieces import SettingsPiece
from noetl_common.errors import Permanent
from noetl_contract.events import RELAYED_TYPES
from noetl_contract.subjects import inbox_prefix
from pydantic import Field, SecretStr

from noetl_bus.nkeys import BadKey, KeyLogin, from_creds, from_seed


class TlsMisconfigured(Permanent):
    """A file with certificates or keys is unusable, which a retry doesn't fix."""

    template = "TLS to the message bus (NOETL_NATS_CA, NOETL_NATS_CERT, NOETL_NATS_KEY): {reason}"


class NatsSettings(FastPathSettings):
    """The broker and the connection to it."""

    nats_url: SecretStr = SecretStr("nats://localhost:4222")
    """Addresses of the brokers, separated by commas. The first address may contain user and
    password, percent-encoded."""
    nats_user: str = Field(default="", validation_alias="NATS_USER")
    """User of the login; together with `NATS_PASSWORD` it takes precedence over the address."""
    nats_password: SecretStr = Field(default=SecretStr(""), validation_alias="NATS_PASSWORD")
    """Password of `NATS_USER`."""
    nats_nkey_seed: SecretStr = SecretStr("")
    """Seed (`SU…`) of the nkey of the login, instead of a password; `NATS_USER` then only names the
    inbox."""
    nats_creds: str = ""
    """Credentials file (`.creds`) of the login with token and seed, which is read again for each
    connection."""
    nats_inbox_prefix: str = ""
    """Prefix of the subjects of answers; empty for `_INBOX_noetl.<user>`."""
    nats_ca: str = ""
    """PEM file of certificate authorities for the broker's certificate. If empty and the address
    begins with `tls://`, the authorities of the machine."""
    nats_cert: str = ""
    """PEM file of the client certificate."""
    nats_key: str = ""
    """PEM file of the client certificate's key."""
    nats_connect_timeout_seconds: float = Field(default=2.0, gt=0)
    """Timeout of one attempt to connect."""
    nats_reconnect_max_seconds: float = Field(default=2.0, gt=0)
    """Longest pause between two attempts to reconnect."""
    nats_ping_seconds: float = Field(default=10.0, gt=0)
    """Interval of pings. The connection is closed after three missed answers, or within seconds if
    new connections work meanwhile."""
    nats_stream_replicas: int = Field(default=1, ge=1, le=5)
    """Number of replicas of each stream that a service creates."""

    def in_effect(self) -> dict[str, str]:
        """Return the settings, including the addresses of the brokers without logins."""
        return {**super().in_effect(), "nats_servers": ",".join(self.nats_servers())}

    def nats_servers(self) -> list[str]:
        """Return the addresses without user and password."""
        found = []
        for entry in self.nats_url.get_secret_value().split(","):
            address = entry.strip() if "://" in entry else f"nats://{entry.strip()}"
            scheme, _, rest = address.partition("://")
            # The login is removed before parsing, because an unencoded password may contain a
            # delimiter.
            parts = urlsplit(f"{scheme}://{rest.rpartition('@')[2]}")
            found.append(f"{parts.scheme}://{parts.netloc}")
        return found

    def nats_login(self) -> tuple[str, str] | None:
        """Return user and password from their variables, or else from the address."""
        if self.nats_user and self.nats_password.get_secret_value():
            return self.nats_user, self.nats_password.get_secret_value()
        parts = urlsplit(self.nats_url.get_secret_value().split(",")[0].strip())
        if parts.username is None:
            return None
        return unquote(parts.username), unquote(parts.password or "")

    def has_tls(self) -> bool:
        """Return whether connections to the broker require TLS."""
        return bool(self.nats_ca or self.nats_cert) or any(
            server.startswith("tls://") for server in self.nats_servers()
        )

    def user(self) -> str:
        """Return the user of the login, or an empty text without a login."""
        login = self.nats_login()
        return login[0] if login else self.nats_user

    def key_login(self) -> KeyLogin | None:
        """Return the key of the login, or None with a password or without a login.

        Raises:
            BadKey: the key is unusable, or several logins are configured.
        """
        seed = self.nats_nkey_seed.get_secret_value().strip()
        kinds = {
            "NOETL_NATS_NKEY_SEED": bool(seed),
            "NOETL_NATS_CREDS": bool(self.nats_creds),
            "a password": self.nats_login() is not None,
        }
        given = [kind for kind, is_given in kinds.items() if is_given]
        if not seed and not self.nats_creds:
            return None
        if len(given) > 1:
            raise BadKey(variable=given[0], reason=f"{' and '.join(given)} are given: one login")
        if seed:
            return from_seed(seed, variable=given[0])
        return from_creds(Path(self.nats_creds), variable=given[0])

    def inbox_prefix(self) -> str:
        """Return the prefix of the inbox subjects, which no other user may read."""
        return self.nats_inbox_prefix or inbox_prefix(self.user())


class EventRelaySettings(SettingsPiece):
    """Events for outside readers; orchestrator and outbox need the same settings."""

    outbox_relay_events: bool = True
    """Publish events. If false, events wait for external publishers (system/outbox_publisher), and
    the services publish only commands and messages."""
    outbox_event_types: str = ""
    """Types of the events that are published on noetl.events, separated by commas; `all` for every
    type. Empty: ends of executions, step.exit, call.error and command.failed."""

    outbox_event_max_bytes: int = Field(default=1 << 20, gt=0)
    """Maximum size of a published event; a larger event is published without its payload."""

    def relayed_types(self) -> frozenset[str] | None:
        """Return the types of relayed events, or None for all types."""
        if not self.outbox_relay_events:
            return frozenset()
        named = frozenset(filter(None, map(str.strip, self.outbox_event_types.split(","))))
        if "all" in named:
            return None
        return named or RELAYED_TYPES


def broker_tls(*, ca: str, cert: str, key: str) -> ssl.SSLContext:
    """Return the TLS context for the broker.

    Args:
        ca: file of certificate authorities; empty for the authorities of the machine.
        cert: file of the client certificate; empty for none.
        key: file of the certificate's key; empty if ``cert`` contains the key.

    Raises:
        TlsMisconfigured: a file is unusable.
    """
    try:
        if ca:
            # Only the named authority is trusted, not the machine's list of public authorities.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(ca)
        else:
            context = ssl.create_default_context()
        if cert:
            context.load_cert_chain(cert, key or None)
    except (OSError, ssl.SSLError) as error:
        raise TlsMisconfigured(reason=str(error)) from error
    return context
