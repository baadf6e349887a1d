"""Settings of the broker, and of the events that leave through it."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from noetl_common.environment.fast_paths import FastPathSettings
from noetl_common.environment.pieces import SettingsPiece
from noetl_contract.events import RELAYED_TYPES
from noetl_contract.subjects import inbox_prefix
from pydantic import Field, SecretStr

from noetl_bus.nkeys import BadKey, KeyLogin, from_creds, from_seed


class NatsSettings(FastPathSettings):
    """The broker and the connection to it."""

    nats_url: SecretStr = SecretStr("nats://localhost:4222")
    """Addresses of the brokers, separated by commas; user and password percent-encoded in the first
    one."""
    nats_user: str = Field(default="", validation_alias="NATS_USER")
    """Wins over the address, with…"""
    nats_password: SecretStr = Field(default=SecretStr(""), validation_alias="NATS_PASSWORD")
    """…this password."""
    nats_nkey_seed: SecretStr = SecretStr("")
    """Seed (`SU…`) of the nkey to log in with, in place of a password; `NATS_USER` then only names
    the inbox."""
    nats_creds: str = ""
    """Credentials file (`.creds`) with token and seed to log in with; read at each connection."""
    nats_inbox_prefix: str = ""
    """Beginning of the subjects on which answers come; empty for `_INBOX_noetl.<user>`."""
    nats_ca: str = ""
    """Certificates (PEM file) that the broker's is checked against; empty: those of the machine,
    where the address begins with `tls://`."""
    nats_cert: str = ""
    """Certificate (PEM file) that we show the broker."""
    nats_key: str = ""
    """Its key (PEM file)."""
    nats_connect_timeout_seconds: float = Field(default=2.0, gt=0)
    """Timeout of one attempt to connect."""
    nats_reconnect_max_seconds: float = Field(default=2.0, gt=0)
    """Longest pause between two attempts to reconnect."""
    nats_ping_seconds: float = Field(default=10.0, gt=0)
    """Interval of probes; the connection ends when three are missed, or within seconds if new
    connections are answered meanwhile."""
    nats_stream_replicas: int = Field(default=1, ge=1, le=5)
    """Copies of each stream that we create."""

    def in_effect(self) -> dict[str, str]:
        """Return the settings, with the addresses of the brokers without their login."""
        return {**super().in_effect(), "nats_servers": ",".join(self.nats_servers())}

    def nats_servers(self) -> list[str]:
        """Return the addresses without user and password."""
        found = []
        for entry in self.nats_url.get_secret_value().split(","):
            address = entry.strip() if "://" in entry else f"nats://{entry.strip()}"
            scheme, _, rest = address.partition("://")
            # Without the login first: a password that isn't encoded may have what ends a host.
            parts = urlsplit(f"{scheme}://{rest.rpartition('@')[2]}")
            found.append(f"{parts.scheme}://{parts.netloc}")
        return found

    def nats_login(self) -> tuple[str, str] | None:
        """Return user and password: of their own variables, else of the address, decoded."""
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
        """Return the user name of the login, empty without a login."""
        login = self.nats_login()
        return login[0] if login else self.nats_user

    def key_login(self) -> KeyLogin | None:
        """Return the key of the login; None with a password or without a login.

        Raises:
            BadKey: it can't be used, or is one of several logins.
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
        """Return the beginning of our inbox subjects, which no other user may read."""
        return self.nats_inbox_prefix or inbox_prefix(self.user())


class EventRelaySettings(SettingsPiece):
    """Events for outside readers; orchestrator and outbox need the same settings."""

    outbox_relay_events: bool = True
    """Whether our services publish events; otherwise they wait for outside publishers
    (system/outbox_publisher), and only commands and messages go out."""
    outbox_event_types: str = ""
    """Types of events published on noetl.events, by commas; `all`: every one. Empty: ends of
    executions, step.exit, call.error and command.failed."""

    outbox_event_max_bytes: int = Field(default=1 << 20, gt=0)
    """Larger events travel without their payload."""

    def relayed_types(self) -> frozenset[str] | None:
        """Return the types of the events that are published one by one; None means all."""
        if not self.outbox_relay_events:
            return frozenset()
        named = frozenset(filter(None, map(str.strip, self.outbox_event_types.split(","))))
        if "all" in named:
            return None
        return named or RELAYED_TYPES
