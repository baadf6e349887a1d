"""The shard of an execution, by the vectors that all implementations share."""

import pytest
from noetl_contract.sharding import shard_for

COUNTS = (2, 3, 4, 8, 16, 64, 1024)
VECTORS = {
    0: (1, 2, 3, 3, 11, 59, 955),
    -9223372036854775808: (0, 0, 0, 0, 0, 32, 224),
    -9223372036854775807: (0, 0, 0, 4, 4, 4, 452),
    -2147483648: (1, 0, 3, 7, 7, 39, 167),
    -42: (0, 2, 0, 4, 4, 52, 1012),
    2: (0, 0, 0, 0, 0, 48, 432),
    3: (1, 0, 1, 1, 1, 1, 65),
    12345: (1, 0, 3, 3, 3, 3, 3),
    2147483647: (0, 2, 0, 0, 0, 48, 624),
    4294967296: (1, 0, 1, 1, 9, 41, 681),
    # Around 2**53: a float on the way would show.
    9007199254740991: (0, 0, 2, 2, 10, 58, 314),
    9007199254740993: (0, 1, 2, 6, 6, 38, 614),
    478775660589088776: (0, 1, 2, 6, 14, 46, 46),
    638756237806404289: (0, 0, 0, 4, 4, 20, 276),
}
GUARD_COUNTS = (2, 4, 16, 64, 1024)
GUARD = {
    1: (1, 1, 5, 21, 405),
    42: (1, 3, 3, 19, 851),
    9999999999: (1, 3, 7, 55, 823),
    320816801799737344: (0, 2, 14, 62, 702),
    9223372036854775807: (0, 0, 12, 12, 780),
    -1: (1, 1, 9, 9, 713),
}


@pytest.mark.parametrize("execution_id", VECTORS)
def test_extreme_ids(execution_id: int) -> None:
    found = tuple(shard_for(execution_id, shard_count=count) for count in COUNTS)

    assert found == VECTORS[execution_id]


@pytest.mark.parametrize("execution_id", GUARD)
def test_the_pairs_of_the_drift_guard(execution_id: int) -> None:
    found = tuple(shard_for(execution_id, shard_count=count) for count in GUARD_COUNTS)

    assert found == GUARD[execution_id]


@pytest.mark.parametrize("count", [0, 1])
def test_one_shard_or_none_is_the_first(count: int) -> None:
    assert {shard_for(execution_id, shard_count=count) for execution_id in (*VECTORS, *GUARD)} == {
        0
    }


def test_consecutive_ids_are_spread_evenly() -> None:
    first = 320816801799737344
    shards = [shard_for(first + n, shard_count=2) for n in range(10_000)]

    assert (shards.count(0), shards.count(1)) == (4901, 5099)
