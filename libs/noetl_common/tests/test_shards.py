"""The shard map: parsing, refusing, choosing a database."""

import pytest
from noetl_common.settings import ShardSettings
from noetl_common.shards import BadShardMap, DatabaseAddress, parse_address, parse_shards

TWO = (
    "host=pg-0;port=6000;user=noetl;password=hush=3;database=noetl_shard_0,"
    " host=pg-1 ;user=noetl;dbname=noetl_shard_1; ,"
)


def test_entries_stand_in_order_with_defaults() -> None:
    assert parse_shards(TWO) == (
        DatabaseAddress(
            host="pg-0", port=6000, user="noetl", password="hush=3", database="noetl_shard_0"
        ),
        # A value keeps its spaces; only keys are trimmed.
        DatabaseAddress(
            host="pg-1 ", port=5432, user="noetl", password="", database="noetl_shard_1"
        ),
    )
    assert parse_address("host=h;user=u;user=v") == DatabaseAddress(
        host="h", port=5432, user="v", password="", database="noetl"
    )


@pytest.mark.parametrize("text", ["", " ", ", ,"])
def test_nothing_but_commas_means_no_map(text: str) -> None:
    assert parse_shards(text) == ()
    assert ShardSettings(shards=text).shard_count == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "index", "problem"),
    [
        ("3", "0", "NOETL_SHARD_COUNT: 3, but NOETL_SHARDS names 2"),
        ("2", "2", "NOETL_SHARD_INDEX: 2 is not below the number of shards, 2"),
    ],
)
def test_a_contradiction_stops_the_start(
    count: str, index: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOETL_SHARDS", TWO)
    monkeypatch.setenv("NOETL_SHARD_COUNT", count)
    monkeypatch.setenv("NOETL_SHARD_INDEX", index)
    with pytest.raises(BadShardMap, match=problem):
        ShardSettings()


@pytest.mark.parametrize(
    ("host", "dsn"),
    [
        ("db.example", "postgres://u:p@db.example:5432/noetl"),
        ("::1", "postgres://u:p@[::1]:5432/noetl"),
        ("/run/postgresql", "postgres://u:p@/noetl?host=%2Frun%2Fpostgresql&port=5432"),
    ],
)
def test_any_kind_of_host_makes_an_address(host: str, dsn: str) -> None:
    (shard,) = parse_shards(f"host={host};user=u;password=p")

    assert shard.dsn == dsn
