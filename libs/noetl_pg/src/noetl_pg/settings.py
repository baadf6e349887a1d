"""Settings of the databases of a shard and of the cluster."""

from typing import Any, Literal

from noetl_common.environment.pieces import SettingsPiece
from noetl_common.settings import Port, ShardSettings, ShortcutSettings, text_in
from noetl_common.shards import BadShardMap, DatabaseAddress, parse_address, parse_shards
from pydantic import AliasChoices, Field, SecretStr


class PostgresTls(SettingsPiece):
    """TLS of connections to the database."""

    postgres_sslmode: (
        Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None
    ) = Field(default=None, validation_alias=AliasChoices("POSTGRES_SSLMODE", "PGSSLMODE"))
    """TLS mode: `disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full`. By default
    `prefer` for a server on this machine, and `verify-full` for others."""
    postgres_sslrootcert: str = Field(
        default="", validation_alias=AliasChoices("POSTGRES_SSLROOTCERT", "PGSSLROOTCERT")
    )
    """PEM file of certificate authorities for the server's certificate; empty: the authorities of
    the machine."""
    postgres_sslcert: str = Field(
        default="", validation_alias=AliasChoices("POSTGRES_SSLCERT", "PGSSLCERT")
    )
    """PEM file of the client certificate."""
    postgres_sslkey: str = Field(
        default="", validation_alias=AliasChoices("POSTGRES_SSLKEY", "PGSSLKEY")
    )
    """PEM file of the client certificate's key."""


class PostgresSettings(PostgresTls, ShortcutSettings):
    """The database and the pool of connections to it."""

    postgres_host: str = Field(default="localhost", validation_alias="POSTGRES_HOST")
    """Host of the database."""
    postgres_port: Port = Field(default=5432, validation_alias="POSTGRES_PORT")
    """Port of the database."""
    postgres_user: str = Field(default="noetl", validation_alias="POSTGRES_USER")
    """Role of the login."""
    postgres_password: SecretStr = Field(
        default=SecretStr(""), validation_alias="POSTGRES_PASSWORD"
    )
    """Password of the role."""
    postgres_password_path: str = ""
    """File of the password, which is read again for each connection. By default the file of
    `POSTGRES_PASSWORD_FILE` or of `password_file` in the shard map."""
    postgres_credential: str = ""
    """Stored credential with the password of a shard's database. It is used after
    `POSTGRES_PASSWORD` was refused, or from the start if that is empty; not for the catalog."""
    postgres_db: str = Field(
        default="noetl", validation_alias=AliasChoices("POSTGRES_DB", "POSTGRES_DATABASE")
    )
    """Name of the database."""
    postgres_pool_min: int = Field(
        default=1,
        ge=0,
        validation_alias=AliasChoices("NOETL_POSTGRES_POOL_MIN", "POSTGRES_MIN_CONNECTIONS"),
    )
    """Minimum number of open connections."""
    postgres_pool_max: int = Field(
        default=10,
        ge=1,
        validation_alias=AliasChoices("NOETL_POSTGRES_POOL_MAX", "POSTGRES_MAX_CONNECTIONS"),
    )
    """Maximum number of connections."""
    postgres_statement_cache: int = Field(
        default=100, ge=0, validation_alias="NOETL_PG_STATEMENT_CACHE_CAPACITY"
    )
    """Prepared statements that are cached per connection; use 0 behind a transaction pooler."""
    postgres_command_timeout_seconds: float = Field(default=30.0, gt=0)
    """Timeout of one statement."""
    postgres_connect_timeout_seconds: float = Field(default=5.0, gt=0)
    """Timeout of one attempt to connect."""


class ShardDatabaseSettings(PostgresSettings, ShardSettings):
    """Settings of a service of one shard: ``NOETL_SHARDS`` names its database."""

    @classmethod
    def _choose_database(
        cls, values: dict[str, Any], shards: tuple[DatabaseAddress, ...]
    ) -> dict[str, Any]:
        if not shards:
            return values
        return _with_database(values, shards[int(values.get("shard_index", 0))])


class ClusterDatabaseSettings(PostgresSettings, ShardSettings):
    """Settings of a service of the cluster: ``NOETL_CLUSTER_DSN``, or else the first shard."""

    @classmethod
    def _choose_database(
        cls, values: dict[str, Any], shards: tuple[DatabaseAddress, ...]
    ) -> dict[str, Any]:
        cluster = parse_address(text_in(values, "cluster_dsn"))
        chosen = cluster or (shards[0] if shards else None)
        if chosen is not None and chosen.credential:
            problem = (
                f"the password of the catalog's database can't come from the credential "
                f"'{chosen.credential}', which is stored in that database"
            )
            raise BadShardMap(variable="NOETL_CLUSTER_DSN", problem=problem)
        if chosen is not None:
            values = _with_database(values, chosen)
        return {**values, "postgres_credential": ""}

    def shard_of_database(self) -> int | None:
        """Return the shard that shares the cluster's database, or None if no shard does."""
        shards = parse_shards(self.shards.get_secret_value())
        mine = (self.postgres_host, self.postgres_port, self.postgres_db)
        if not shards:
            # Without a shard map, all tables are in one database, unless the cluster has its own.
            return None if self.cluster_dsn.get_secret_value().strip() else self.shard_index
        return next((i for i, shard in enumerate(shards) if shard.place == mine), None)


def _with_database(values: dict[str, Any], address: DatabaseAddress) -> dict[str, Any]:
    """Return the settings with another database, instead of any variable that names one."""
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
