"""The shard and cluster that a database records; other processes refuse to serve it (S4)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from noetl_common.errors import Permanent
from noetl_common.settings import ShardSettings

from noetl_pg.errors import translate

if TYPE_CHECKING:
    import asyncpg

CLUSTER_WIDE = -1
"""The index of the database for data of the whole cluster, which belongs to no shard."""

# The first process records the identity, and later processes read it.
_CLAIM = """
WITH made AS (
    INSERT INTO noetl.shard_identity (cluster_id, shard_index, shard_count)
    VALUES ($1::TEXT, $2::INTEGER, $3::INTEGER)
    ON CONFLICT (only_row) DO NOTHING
    RETURNING cluster_id, shard_index, shard_count
)
SELECT cluster_id, shard_index, shard_count FROM made
UNION ALL
SELECT cluster_id, shard_index, shard_count FROM noetl.shard_identity
"""


class WrongDatabase(Permanent):
    """The database belongs to another shard or cluster (S4)."""

    template = "the database is {found}, this process is for {wanted}"


@dataclass(frozen=True, slots=True)
class DatabaseIdentity:
    """The part of a cluster that a database holds."""

    cluster_id: str
    shard_index: int
    shard_count: int

    def __str__(self) -> str:
        whole = f"{self.shard_count} of cluster {self.cluster_id!r}"
        if self.shard_index == CLUSTER_WIDE:
            return f"the cluster-wide database beside the shards, {whole}"
        return f"shard {self.shard_index} of {whole}"


async def check_identity(
    pool: "asyncpg.Pool[asyncpg.Record]", settings: ShardSettings, *, shard: int | None
) -> None:
    """Record the identity of a database, or compare it with the recorded identity.

    Args:
        pool: connections to the migrated database.
        settings: cluster and number of shards.
        shard: shard of the database; None for the database of the whole cluster.

    Raises:
        WrongDatabase: the database belongs to another shard or cluster.
        Transient: the database can't answer now.
    """
    place = CLUSTER_WIDE if shard is None else shard
    wanted = DatabaseIdentity(settings.cluster_id, place, settings.shard_count)
    row = None
    while row is None:  # another process has just recorded a row, which is not visible yet
        with translate():
            row = await pool.fetchrow(
                _CLAIM, wanted.cluster_id, wanted.shard_index, wanted.shard_count
            )
    found = DatabaseIdentity(row["cluster_id"], row["shard_index"], row["shard_count"])
    if found != wanted:
        raise WrongDatabase(found=str(found), wanted=str(wanted))
