"""The shard of an execution."""

import struct

import xxhash

_MASK = (1 << 64) - 1


def shard_for(execution_id: int, *, shard_count: int) -> int:
    """Return the shard index of an execution.

    Args:
        execution_id: signed 64-bit execution id.
        shard_count: number of shards; 0 and 1 mean one shard.

    Returns:
        XXH64 (seed 0) of the id's eight little-endian bytes modulo ``shard_count``.
    """
    if shard_count <= 1:
        return 0
    digest = xxhash.xxh64(struct.pack("<Q", execution_id & _MASK), seed=0).intdigest()
    return digest % shard_count
