"""Mint an id on the shard that a key or an execution names, so that equal keys meet there."""

from noetl_common.ids import SnowflakeIds, mint_on_shard_of
from noetl_contract.sharding import shard_for

__all__ = ["mint_beside", "mint_on_shard_of"]


def mint_beside(ids: SnowflakeIds, execution_id: int, *, shard_count: int) -> int:
    """Mint an id on the shard of an execution."""
    shard = shard_for(execution_id, shard_count=shard_count)
    while shard_for(identifier := ids.next(), shard_count=shard_count) != shard:
        pass
    return identifier
