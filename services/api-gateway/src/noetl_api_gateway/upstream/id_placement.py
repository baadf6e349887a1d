"""Mint an id on the shard that a key names, so that equal keys meet there."""

import hashlib

from noetl_common.ids import SnowflakeIds
from noetl_contract.sharding import shard_for


def mint_on_shard_of(ids: SnowflakeIds, name: str, *, shard_count: int) -> int:
    """Mint an id on the shard on which everything of this name meets."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    shard = int.from_bytes(digest) % max(shard_count, 1)
    while shard_for(identifier := ids.next(), shard_count=shard_count) != shard:
        pass  # the next one falls elsewhere; after a few one falls here
    return identifier


def mint_beside(ids: SnowflakeIds, execution_id: int, *, shard_count: int) -> int:
    """Mint an id on the shard of an execution."""
    shard = shard_for(execution_id, shard_count=shard_count)
    while shard_for(identifier := ids.next(), shard_count=shard_count) != shard:
        pass
    return identifier
