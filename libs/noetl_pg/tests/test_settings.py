"""Settings choose a database of the shard map."""

import pytest
from noetl_common.shards import BadShardMap
from noetl_pg.settings import ClusterDatabaseSettings, ShardDatabaseSettings

TWO = (
    "host=pg-0;port=6000;user=noetl;password=hush=3;database=noetl_shard_0,"
    " host=pg-1 ;user=noetl;dbname=noetl_shard_1; ,"
)


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
