"""Which databases a stack has: one for everything, or one a shard and one for the cluster."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from noetl_common.shards import BadShardMap, DatabaseAddress, parse_address, parse_shards

from noetl.stack.errors import StackError

__all__ = ["Databases", "PostgresAddress", "databases_of", "sharded_databases", "single_database"]


@dataclass(frozen=True, kw_only=True)
class PostgresAddress:
    """Where PostgreSQL is and how to log in."""

    host: str
    port: int
    user: str
    password: str
    database: str

    @property
    def dsn(self) -> str:
        """The address as one line, for the migration runner."""
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return f"postgres://{login}@{self.host}:{self.port}/{quote(self.database, safe='')}"

    @property
    def entry(self) -> str:
        """The address as the shard map writes it."""
        return (
            f"host={self.host};port={self.port};user={self.user};"
            f"password={self.password};database={self.database}"
        )

    @property
    def environment(self) -> dict[str, str]:
        """The address as the variables that services read."""
        return {
            "POSTGRES_HOST": self.host,
            "POSTGRES_PORT": str(self.port),
            "POSTGRES_USER": self.user,
            "POSTGRES_PASSWORD": self.password,
            "POSTGRES_DB": self.database,
        }


@dataclass(frozen=True, kw_only=True)
class Databases:
    """The databases of a stack.

    Attributes:
        shards: one per shard, in order.
        cluster: for what belongs to the cluster as a whole; may be a shard's.
        is_sharded: whether services are told by the shard map, not by ``POSTGRES_*``.
    """

    shards: tuple[PostgresAddress, ...]
    cluster: PostgresAddress
    is_sharded: bool

    @property
    def all(self) -> list[PostgresAddress]:
        """Each database once; the cluster's first, since every service waits for it."""
        return list(dict.fromkeys((self.cluster, *self.shards)))

    @property
    def environment(self) -> dict[str, str]:
        """What services with a database are told."""
        if not self.is_sharded:
            return self.cluster.environment
        return {
            **self.cluster.environment,
            "NOETL_SHARDS": ",".join(shard.entry for shard in self.shards),
            "NOETL_CLUSTER_DSN": self.cluster.entry,
        }


def single_database(address: PostgresAddress) -> Databases:
    """One database for everything."""
    return Databases(shards=(address,), cluster=address, is_sharded=False)


def sharded_databases(server: PostgresAddress, count: int) -> Databases:
    """Databases on one server: one a shard, and one for the cluster."""

    def named(database: str) -> PostgresAddress:
        return PostgresAddress(
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password,
            database=database,
        )

    shards = tuple(named(f"noetl_shard_{index}") for index in range(count))
    return Databases(shards=shards, cluster=named("noetl_cluster"), is_sharded=True)


def databases_of(environment: Mapping[str, str] | None = None) -> Databases | None:
    """The databases that the shard map in the environment names; None without one.

    Raises:
        StackError: the map is malformed; the text says where.
    """
    env = os.environ if environment is None else environment
    try:
        shards = parse_shards(env.get("NOETL_SHARDS", ""))
        cluster = parse_address(env.get("NOETL_CLUSTER_DSN", ""))
    except BadShardMap as error:
        raise StackError(error.message) from error
    if not shards:
        return None
    found = tuple(map(_address, shards))
    return Databases(
        shards=found,
        cluster=_address(cluster) if cluster is not None else found[0],
        is_sharded=True,
    )


def _address(parsed: DatabaseAddress) -> PostgresAddress:
    return PostgresAddress(
        host=parsed.host,
        port=parsed.port,
        user=parsed.user,
        password=parsed.password,
        database=parsed.database,
    )
