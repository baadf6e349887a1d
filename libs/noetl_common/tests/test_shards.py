"""The shard map: parsing, refusing, choosing a database."""

import pytest
from noetl_common.settings import ClusterDatabaseSettings, ShardDatabaseSettings, ShardSettings
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
    ("text", "problem"),
    [
        ("host=a;hunter2;user=u", r"malformed key=value pair: number 2 has no '=' \(entry 0\)"),
        ("user=u", "missing required key: host"),
        ("port=1", "missing required key: host"),
        ("host=a", "missing required key: user"),
        ("host=a;user=u,host=b;users=u", r"unknown key: users \(entry 1\)"),
        ("host=a;user=u;port=99999", "invalid port: 99999"),
        ("host=a;user=u;port=x", "invalid port: x"),
        ("host=a;user=u,host=a;user=v;password=p", "entries 0 and 1 name the same database"),
    ],
)
def test_a_bad_map_stops_the_start_with_its_reason(
    text: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOETL_SHARDS", text)
    with pytest.raises(BadShardMap, match=f"^NOETL_SHARDS: {problem}") as caught:
        ShardDatabaseSettings()

    assert "hunter2" not in str(caught.value)


def test_services_of_a_shard_use_its_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOETL_SHARDS", TWO)
    monkeypatch.setenv("NOETL_SHARD_INDEX", "1")
    monkeypatch.setenv("POSTGRES_HOST", "elsewhere")
    monkeypatch.setenv("POSTGRES_DATABASE", "elsewhere")
    monkeypatch.setenv("POSTGRES_PASSWORD", "other")
    settings = ShardDatabaseSettings()

    assert (settings.shard_index, settings.shard_count) == (1, 2)
    assert (settings.postgres_host, settings.postgres_db) == ("pg-1 ", "noetl_shard_1")
    assert settings.postgres_password.get_secret_value() == ""
    assert "hush" not in repr(settings)


def test_the_clusters_database_is_its_own_or_the_first_shards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert ClusterDatabaseSettings().shard_of_database() == 0
    monkeypatch.setenv("NOETL_SHARDS", TWO)

    shared = ClusterDatabaseSettings()
    assert (shared.postgres_db, shared.shard_of_database()) == ("noetl_shard_0", 0)
    monkeypatch.setenv("NOETL_CLUSTER_DSN", "host=pg-9;user=u;database=noetl_cluster")

    own = ClusterDatabaseSettings()
    assert (own.postgres_host, own.postgres_db) == ("pg-9", "noetl_cluster")
    assert own.shard_of_database() is None
    assert own.shard_count == 2


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
