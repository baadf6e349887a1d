"""Pieces of settings that services compose by inheritance.

Only ``Settings()`` reads the environment. Variables of existing deployments keep their names; ours
have the prefix ``NOETL_``. A bad value is an error that names the variable.
"""

import warnings
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from noetl_contract.events import RELAYED_TYPES
from noetl_contract.subjects import inbox_prefix
from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, model_validator
from pydantic_core import PydanticUseDefault

from noetl_common.crypto.nkeys import BadKey, KeyLogin, from_creds, from_seed
from noetl_common.environment.fast_paths import FastPathSettings
from noetl_common.environment.pieces import SettingsPiece
from noetl_common.shards import BadShardMap, DatabaseAddress, parse_address, parse_shards
from noetl_common.telemetry.settings import TracingFields


def _no_service_link(value: Any) -> Any:
    """Take the default where Kubernetes put the address of a Service into a port variable."""
    if isinstance(value, str) and value.startswith("tcp://"):
        warnings.warn(f"ignored a port that is a service link: {value}", stacklevel=2)
        raise PydanticUseDefault
    return value


type Port = Annotated[int, BeforeValidator(_no_service_link), Field(ge=0, le=65535)]


class NatsSettings(FastPathSettings):
    """The broker and the connection to it."""

    nats_url: SecretStr = Field(
        default=SecretStr("nats://localhost:4222"),
        description="Addresses of the brokers, separated by commas; user and password "
        "percent-encoded in the first one.",
    )
    nats_user: str = Field(
        default="", validation_alias="NATS_USER", description="Wins over the address, with…"
    )
    nats_password: SecretStr = Field(
        default=SecretStr(""), validation_alias="NATS_PASSWORD", description="…this password."
    )
    nats_nkey_seed: SecretStr = Field(
        default=SecretStr(""),
        description="Seed (`SU…`) of the nkey to log in with, in place of a password; `NATS_USER` "
        "then only names the inbox.",
    )
    nats_creds: str = Field(
        default="",
        description="Credentials file (`.creds`) with token and seed to log in with; read at each "
        "connection.",
    )
    nats_inbox_prefix: str = Field(
        default="",
        description="Beginning of the subjects on which answers come; empty for "
        "`_INBOX_noetl.<user>`.",
    )
    nats_ca: str = Field(
        default="",
        description="Certificates (PEM file) that the broker's is checked against; empty: those of "
        "the machine, where the address begins with `tls://`.",
    )
    nats_cert: str = Field(
        default="", description="Certificate (PEM file) that we show the broker."
    )
    nats_key: str = Field(default="", description="Its key (PEM file).")
    nats_connect_timeout_seconds: float = Field(
        default=2.0, gt=0, description="Timeout of one attempt to connect."
    )
    nats_reconnect_max_seconds: float = Field(
        default=2.0, gt=0, description="Longest pause between two attempts to reconnect."
    )
    nats_ping_seconds: float = Field(
        default=10.0,
        gt=0,
        description="Interval of probes; the connection ends when three are missed, or within "
        "seconds if new connections are answered meanwhile.",
    )
    nats_stream_replicas: int = Field(
        default=1, ge=1, le=5, description="Copies of each stream that we create."
    )

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


class PostgresTls(SettingsPiece):
    """Encryption of the connections to the database."""

    postgres_sslmode: (
        Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None
    ) = Field(
        default=None,
        validation_alias=AliasChoices("POSTGRES_SSLMODE", "PGSSLMODE"),
        description="`disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full`; not "
        "set: `prefer` on this machine, `verify-full` elsewhere.",
    )
    postgres_sslrootcert: str = Field(
        default="",
        validation_alias=AliasChoices("POSTGRES_SSLROOTCERT", "PGSSLROOTCERT"),
        description="Certificates (PEM file) that the database's is checked against; empty: those "
        "of the machine.",
    )
    postgres_sslcert: str = Field(
        default="",
        validation_alias=AliasChoices("POSTGRES_SSLCERT", "PGSSLCERT"),
        description="Certificate (PEM file) that we show the database.",
    )
    postgres_sslkey: str = Field(
        default="",
        validation_alias=AliasChoices("POSTGRES_SSLKEY", "PGSSLKEY"),
        description="Its key (PEM file).",
    )


class ShortcutSettings(SettingsPiece):
    """Use of undocumented internals of libraries, for speed."""

    shortcuts: bool = Field(
        default=True,
        description="Save time by internals of CPython and asyncpg, of releases of them that this "
        "was tried with; false: only by what they promise.",
    )


class PostgresSettings(PostgresTls, ShortcutSettings):
    """The database and the pool of connections to it."""

    postgres_host: str = Field(
        default="localhost", validation_alias="POSTGRES_HOST", description="Host of the database."
    )
    postgres_port: Port = Field(
        default=5432, validation_alias="POSTGRES_PORT", description="Port of the database."
    )
    postgres_user: str = Field(
        default="noetl", validation_alias="POSTGRES_USER", description="Role we log in with."
    )
    postgres_password: SecretStr = Field(
        default=SecretStr(""), validation_alias="POSTGRES_PASSWORD", description="Its password."
    )
    postgres_password_path: str = Field(
        default="",
        description="File that the password is read from anew for each connection; that of "
        "`POSTGRES_PASSWORD_FILE` or of the shard map's `password_file` unless given.",
    )
    postgres_credential: str = Field(
        default="",
        description="Stored credential that the password of a shard's database comes from once "
        "`POSTGRES_PASSWORD` is refused, or from the start without one; not for the catalog.",
    )
    postgres_db: str = Field(
        default="noetl",
        validation_alias=AliasChoices("POSTGRES_DB", "POSTGRES_DATABASE"),
        description="Name of the database.",
    )
    postgres_pool_min: int = Field(
        default=1,
        ge=0,
        validation_alias=AliasChoices("NOETL_POSTGRES_POOL_MIN", "POSTGRES_MIN_CONNECTIONS"),
        description="Connections kept open.",
    )
    postgres_pool_max: int = Field(
        default=10,
        ge=1,
        validation_alias=AliasChoices("NOETL_POSTGRES_POOL_MAX", "POSTGRES_MAX_CONNECTIONS"),
        description="Connections at most.",
    )
    postgres_statement_cache: int = Field(
        default=100,
        ge=0,
        validation_alias="NOETL_PG_STATEMENT_CACHE_CAPACITY",
        description="Prepared statements kept per connection; 0 behind a transaction pooler.",
    )
    postgres_command_timeout_seconds: float = Field(
        default=30.0, gt=0, description="Timeout of one statement."
    )
    postgres_connect_timeout_seconds: float = Field(
        default=5.0, gt=0, description="Timeout of one attempt to connect."
    )


class PlaybookSettings(SettingsPiece):
    """Additions to playbooks."""

    extra_tool_kinds: str = Field(
        default="", description="Kinds, by commas, of tools that workers have from other packages."
    )

    def more_kinds(self) -> frozenset[str]:
        """Return kinds of tools that the parser accepts in addition to ours."""
        return frozenset(filter(None, (kind.strip() for kind in self.extra_tool_kinds.split(","))))


class CommandKeySettings(SettingsPiece):
    """The key under which commands carry their capability."""

    command_key: SecretStr = Field(
        default=SecretStr(""),
        description="Key that orchestrator and edge share: notifications carry the capability of "
        "their command, and what workers report must show it. Without it they carry none.",
    )

    def command_key_bytes(self) -> bytes:
        """Return the key; empty when there is none."""
        return self.command_key.get_secret_value().encode()


class ServiceSettings(SettingsPiece, TracingFields):
    """Settings of every process: its port, its logs, its traces, its end."""

    http_host: str = Field(default="127.0.0.1", description="Address the HTTP port is bound to.")
    http_port: Port = Field(default=8082, description="Port of health, metrics and routes.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level that is logged."
    )
    log_format: Literal["json", "pretty", "auto"] = Field(
        default="auto", description="`auto` is pretty on a terminal, JSON elsewhere."
    )
    build_revision: str = Field(
        default="", description="What the image was built from; shown by `noetl_build_info`."
    )
    shutdown_grace_seconds: float = Field(
        default=25.0, ge=0, description="Time for work in flight after the signal to stop."
    )
    liveness_silence_seconds: float = Field(
        default=60.0, gt=0, description="A loop silent for longer counts as stuck."
    )
    public_server_url: str = Field(
        default="http://localhost:8082", description="Base address of the edge as workers reach it."
    )


class ShardSettings(SettingsPiece):
    """The number of shards, and the shard that this process serves.

    ``NOETL_SHARDS`` gives the number too; the edge, which uses no database, may be given the
    number alone.
    """

    shard_index: int = Field(default=0, ge=0, description="Index of the shard served.")
    shard_count: int = Field(default=1, ge=1, description="How many shards there are.")
    shards: SecretStr = Field(
        default=SecretStr(""),
        description="The shards' databases in order: `host=…;port=…;user=…;password=…;"
        "database=…`, the next after a comma; `password_file=…` names a file with the password, "
        "`credential=…` a stored credential.",
    )
    cluster_dsn: SecretStr = Field(
        default=SecretStr(""),
        description="The database of the cluster's own tables, written like a shard.",
    )
    cluster_id: str = Field(
        default="noetl", description="Name of the cluster; its databases remember it (S4)."
    )

    @model_validator(mode="before")
    @classmethod
    def _apply_map(cls, values: dict[str, Any]) -> dict[str, Any]:
        shards = _shards_of(values)
        count, index = values.get("shard_count", 1), values.get("shard_index", 0)
        if shards:
            if str(count) not in {"1", str(len(shards))}:
                problem = f"{count}, but NOETL_SHARDS names {len(shards)}"
                raise BadShardMap(variable="NOETL_SHARD_COUNT", problem=problem)
            values = {**values, "shard_count": len(shards)}
            count = len(shards)
        if str(index).isdigit() and str(count).isdigit() and int(index) >= int(count):
            problem = f"{index} is not below the number of shards, {count}"
            raise BadShardMap(variable="NOETL_SHARD_INDEX", problem=problem)
        return cls._choose_database(values, shards)

    @classmethod
    def _choose_database(
        cls, values: dict[str, Any], _shards: tuple[DatabaseAddress, ...]
    ) -> dict[str, Any]:
        return values


class ShardDatabaseSettings(PostgresSettings, ShardSettings):
    """Settings of a service of one shard: ``NOETL_SHARDS`` names its database."""

    @classmethod
    def _choose_database(
        cls, values: dict[str, Any], shards: tuple[DatabaseAddress, ...]
    ) -> dict[str, Any]:
        if not shards:
            return values
        return _with_database(values, shards[int(values.get("shard_index", 0))])


class EventRelaySettings(SettingsPiece):
    """Events for outside readers; orchestrator and outbox need the same settings."""

    outbox_relay_events: bool = Field(
        default=True,
        description="Whether our services publish events; otherwise they wait for outside "
        "publishers (system/outbox_publisher), and only commands and messages go out.",
    )
    outbox_event_types: str = Field(
        default="",
        description="Types of events published on noetl.events, by commas; `all`: every one. "
        "Empty: ends of executions, step.exit, call.error and command.failed.",
    )

    outbox_event_max_bytes: int = Field(
        default=1 << 20, gt=0, description="Larger events travel without their payload."
    )

    def relayed_types(self) -> frozenset[str] | None:
        """Return the types of the events that are published one by one; None means all."""
        if not self.outbox_relay_events:
            return frozenset()
        named = frozenset(filter(None, map(str.strip, self.outbox_event_types.split(","))))
        if "all" in named:
            return None
        return named or RELAYED_TYPES


class ClusterDatabaseSettings(PostgresSettings, ShardSettings):
    """Settings of a service of the cluster: ``NOETL_CLUSTER_DSN``, else the first shard's."""

    @classmethod
    def _choose_database(
        cls, values: dict[str, Any], shards: tuple[DatabaseAddress, ...]
    ) -> dict[str, Any]:
        cluster = parse_address(_text_of(values, "cluster_dsn"))
        chosen = cluster or (shards[0] if shards else None)
        if chosen is not None and chosen.credential:
            problem = (
                f"the database of the catalog can't have its password from the credential "
                f"'{chosen.credential}', which lies in it"
            )
            raise BadShardMap(variable="NOETL_CLUSTER_DSN", problem=problem)
        if chosen is not None:
            values = _with_database(values, chosen)
        return {**values, "postgres_credential": ""}

    def shard_of_database(self) -> int | None:
        """Return the shard that lives in the cluster's database too; None if none does."""
        shards = parse_shards(self.shards.get_secret_value())
        mine = (self.postgres_host, self.postgres_port, self.postgres_db)
        if not shards:
            # Without a map there is one database for everything, unless the cluster has its own.
            return None if self.cluster_dsn.get_secret_value().strip() else self.shard_index
        return next((i for i, shard in enumerate(shards) if shard.place == mine), None)


def _shards_of(values: dict[str, Any]) -> tuple[DatabaseAddress, ...]:
    return parse_shards(_text_of(values, "shards"))


def _text_of(values: dict[str, Any], name: str) -> str:
    value = values.get(name, "")
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _with_database(values: dict[str, Any], address: DatabaseAddress) -> dict[str, Any]:
    """Return the settings with another database, however the old one was named."""
    kept = {
        name: value
        for name, value in values.items()
        if name.upper() not in _DATABASE_VARIABLES and name not in _DATABASE_FIELDS
    }
    return {
        **kept,
        "postgres_host": address.host,
        "postgres_port": address.port,
        "postgres_user": address.user,
        "postgres_password": address.password,
        "postgres_password_path": address.password_file,
        "postgres_credential": address.credential,
        "postgres_db": address.database,
    }


_DATABASE_VARIABLES = frozenset(
    {
        "POSTGRES_HOST",
        "POSTGRES_PORT",
        "POSTGRES_USER",
        "POSTGRES_PASSWORD",
        "POSTGRES_DB",
        "POSTGRES_DATABASE",
    }
)
_DATABASE_FIELDS = frozenset(name.lower() for name in _DATABASE_VARIABLES)
