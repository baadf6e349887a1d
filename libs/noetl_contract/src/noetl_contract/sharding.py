"""The shard of an execution, and its bucket."""

import struct

import xxhash

BUCKETS = 256
"""Parts of a shard, each owned by one replica of its orchestrator."""
_MASK = (1 << 64) - 1
# Spreads ids, whose low bits are counters, over the upper bits of 64.
_MULTIPLIER = 0x9E3779B97F4A7C15


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


def bucket_of(execution_id: int) -> int:
    """Return the bucket of an execution, from 0 to 255."""
    return (execution_id * _MULTIPLIER >> 56) % BUCKETS
