"""Pieces of settings that services compose by inheritance.

Only ``Settings()`` reads the environment. The names of variables are those of the operations
document; ours have the prefix ``NOETL_``. A bad value is an error that names the variable.
"""

import warnings
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr
from pydantic_core import PydanticUseDefault
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = [
    "NatsSettings",
    "PlaybookSettings",
    "PostgresSettings",
    "ServiceSettings",
    "ShardSettings",
]


def _no_service_link(value: Any) -> Any:
    """Take the default where Kubernetes put the address of a Service into a port variable."""
    if isinstance(value, str) and value.startswith("tcp://"):
        warnings.warn(f"ignored a port that is a service link: {value}", stacklevel=2)
        raise PydanticUseDefault
    return value


type Port = Annotated[int, BeforeValidator(_no_service_link), Field(ge=0, le=65535)]


class _Piece(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="NOETL_", frozen=True, populate_by_name=True, extra="ignore"
    )


class NatsSettings(_Piece):
    """Where the broker is and how we talk to it."""

    nats_url: SecretStr = Field(
        default=SecretStr("nats://localhost:4222"),
        description="Addresses of the brokers, separated by commas; user and password "
        "percent-encoded in the first one.",
    )
    nats_connect_timeout_seconds: float = Field(
        default=2.0, gt=0, description="Patience with one attempt to connect."
    )
    nats_reconnect_max_seconds: float = Field(
        default=2.0, gt=0, description="Longest pause between two attempts to reconnect."
    )
    nats_ping_seconds: float = Field(
        default=10.0,
        gt=0,
        description="How often the connection is probed; three miss and it ends.",
    )
    nats_stream_replicas: int = Field(
        default=1, ge=1, le=5, description="Copies of each stream that we create."
    )

    def nats_servers(self) -> list[str]:
        """Return the addresses without user and password."""
        found = []
        for entry in self.nats_url.get_secret_value().split(","):
            parts = urlsplit(entry.strip() if "://" in entry else f"nats://{entry.strip()}")
            found.append(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
        return found

    def nats_login(self) -> tuple[str, str] | None:
        """Return user and password, decoded, if the address has them."""
        parts = urlsplit(self.nats_url.get_secret_value().split(",")[0].strip())
        if parts.username is None:
            return None
        return unquote(parts.username), unquote(parts.password or "")


class PostgresSettings(_Piece):
    """Where the database is and how many connections we hold."""

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
        default=30.0, gt=0, description="Patience with one statement."
    )
    postgres_connect_timeout_seconds: float = Field(
        default=5.0, gt=0, description="Patience with one attempt to connect."
    )


class PlaybookSettings(_Piece):
    """What playbooks may use beside what we bring."""

    extra_tool_kinds: str = Field(
        default="",
        description="Kinds, by commas, of tools that workers have from other packages.",
    )

    def more_kinds(self) -> frozenset[str]:
        """Return the kinds that the parser accepts beside ours."""
        return frozenset(filter(None, (kind.strip() for kind in self.extra_tool_kinds.split(","))))


class ServiceSettings(_Piece):
    """What every process has: its port, its logs, its end."""

    http_host: str = Field(default="127.0.0.1", description="Address the HTTP port is bound to.")
    http_port: Port = Field(default=8082, description="Port of health, metrics and routes.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level that is logged."
    )
    log_format: Literal["json", "pretty", "auto"] = Field(
        default="auto", description="`auto` is pretty on a terminal, JSON elsewhere."
    )
    shutdown_grace_seconds: float = Field(
        default=25.0, ge=0, description="Time for work in flight after the signal to stop."
    )
    liveness_silence_seconds: float = Field(
        default=60.0, gt=0, description="A loop silent for longer counts as stuck."
    )
    public_server_url: str = Field(
        default="http://localhost:8082",
        description="Base address of the edge as workers reach it.",
    )


class ShardSettings(_Piece):
    """Which shard this process serves."""

    shard_index: int = Field(default=0, ge=0, description="Index of the shard served.")
    shard_count: int = Field(default=1, ge=1, description="How many shards there are.")
