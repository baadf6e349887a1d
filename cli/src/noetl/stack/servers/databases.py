"""The databases of a stack: one for everything, or one a shard and one for the cluster."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from noetl_common.shards import (
    BadShardMap,
    DatabaseAddress,
    is_host,
    parse_address,
    parse_shards,
)

from noetl.stack.datadir import ROLE, DataDirectory, Identity
from noetl.stack.errors import StackError
from noetl.stack.servers.postgres import PostgresInstance
from noetl.stack.servers.roles import ROLES, with_console


@dataclass(frozen=True, kw_only=True)
class Databases:
    """The databases of a stack.

    Attributes:
        shards: one per shard, in order.
        cluster: for what belongs to the cluster as a whole; may be a shard's.
        is_sharded: whether services get the shard map, not ``POSTGRES_*``.
    """

    shards: tuple[DatabaseAddress, ...]
    cluster: DatabaseAddress
    is_sharded: bool

    @property
    def all(self) -> list[DatabaseAddress]:
        """Each database once; the cluster's first, since every service waits for it."""
        return list(dict.fromkeys((self.cluster, *self.shards)))

    def as_role(self, role: str, password: str) -> "Databases":
        """Return the same databases with another login."""

        def changed(address: DatabaseAddress) -> DatabaseAddress:
            return replace(address, user=role, password=password, password_file="", credential="")

        return replace(
            self,
            shards=tuple(changed(shard) for shard in self.shards),
            cluster=changed(self.cluster),
        )

    @property
    def environment(self) -> dict[str, str]:
        """Variables that services with a database get."""
        if not self.is_sharded:
            return self.cluster.environment
        return {
            **self.cluster.environment,
            "NOETL_SHARDS": ",".join(shard.entry for shard in self.shards),
            "NOETL_CLUSTER_DSN": self.cluster.entry,
        }


def single_database(address: DatabaseAddress) -> Databases:
    """One database for everything."""
    return Databases(shards=(address,), cluster=address, is_sharded=False)


def embedded_databases(identity: Identity) -> Databases:
    """Databases of the stack's own server: one, or one a shard and one for the cluster."""

    def named(database: str) -> DatabaseAddress:
        return DatabaseAddress(
            host="127.0.0.1",
            port=identity.ports["postgres"],
            user=ROLE,
            password=identity.postgres_password,
            database=database,
        )

    count = identity.shards or 1
    if count == 1:
        return single_database(named(ROLE))
    shards = tuple(named(f"noetl_shard_{index}") for index in range(count))
    return Databases(shards=shards, cluster=named("noetl_cluster"), is_sharded=True)


def embedded_server(data: DataDirectory, identity: Identity) -> PostgresInstance:
    """Return the stack's own server, with passwords and a port that the identity has to keep."""
    return PostgresInstance(
        directory=data.postgres,
        port=data.port(identity, "postgres"),
        user=ROLE,
        password=identity.postgres_password,
        roles=with_console(identity.role_passwords(ROLES.values())),
    )


def databases_of(environment: Mapping[str, str] | None = None) -> Databases | None:
    """Return the databases of the shard map in the environment; None without a map.

    Raises:
        StackError: the map is malformed; the text says where.
    """
    env = os.environ if environment is None else environment
    try:
        shards = parse_shards(env.get("NOETL_SHARDS", ""))
        cluster = parse_address(env.get("NOETL_CLUSTER_DSN", ""))
    except BadShardMap as error:
        raise StackError(error.message) from error
    for variable, given in (("NOETL_SHARDS", shards), ("NOETL_CLUSTER_DSN", (cluster,))):
        if not all(one is None or is_host(one.host.strip()) for one in given):
            # Not the host itself: it may be an address with a login.
            raise StackError(f"{variable}: a host is neither a name nor an address")
    if not shards:
        return None
    return Databases(shards=shards, cluster=cluster or shards[0], is_sharded=True)
