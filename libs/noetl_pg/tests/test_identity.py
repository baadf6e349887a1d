"""A database and the shard it belongs to."""

import pytest
from noetl_common.settings import ShardSettings
from noetl_pg.identity import WrongDatabase, check_identity
from noetl_pg.pool import open_pool
from noetl_pg.settings import PostgresSettings
from noetl_testkit.postgres import Database


async def test_s4_a_database_remembers_whose_it_is(database: Database) -> None:
    """The first process records the identity; processes of another one are refused."""
    async with open_pool(PostgresSettings.model_validate(database.settings), name="test") as pool:
        second = ShardSettings(shard_count=2, shard_index=1)
        await check_identity(pool, second, shard=1)
        await check_identity(pool, second, shard=1)

        for settings, shard, text in [
            (second, 0, "shard 1 of 2 of cluster 'noetl', this process is for shard 0 of 2"),
            (second, None, "for the cluster-wide database beside the shards, 2"),
            (ShardSettings(shard_count=3), 1, "for shard 1 of 3"),
            (ShardSettings(shard_count=2, cluster_id="other"), 1, "of cluster 'other'"),
        ]:
            with pytest.raises(WrongDatabase, match=text):
                await check_identity(pool, settings, shard=shard)
