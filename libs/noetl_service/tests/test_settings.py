"""Settings from the environment."""

import pytest
from noetl_bus.settings import NatsSettings
from noetl_common.settings import PlaybookSettings, ShardSettings
from noetl_pg.settings import PostgresSettings
from noetl_service.settings import ServiceSettings
from pydantic import SecretStr, ValidationError


class Settings(NatsSettings, PostgresSettings, ServiceSettings, ShardSettings):
    """As a service composes them."""


def test_documented_names_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "NOETL_NATS_URL": "nats://u:p@h:1",
        "NOETL_HTTP_PORT": "9",
        "NOETL_LOG_LEVEL": "debug",
        "NOETL_PUBLIC_SERVER_URL": "http://edge",
        "NOETL_SHARD_COUNT": "3",
        "NOETL_PG_STATEMENT_CACHE_CAPACITY": "0",
        "NOETL_POSTGRES_POOL_MAX": "4",
        "POSTGRES_HOST": "db",
        "POSTGRES_DB": "ours",
        "POSTGRES_PASSWORD": "secret",
    }.items():
        monkeypatch.setenv(name, value)
    settings = Settings()

    assert settings.nats_url.get_secret_value() == "nats://u:p@h:1"
    assert (settings.http_port, settings.log_level) == (9, "debug")
    assert settings.public_server_url == "http://edge"
    assert settings.shard_count == 3
    assert (settings.postgres_statement_cache, settings.postgres_pool_max) == (0, 4)
    assert (settings.postgres_host, settings.postgres_db) == ("db", "ours")
    assert "secret" not in repr(settings)


def test_the_baselines_name_of_the_database_works_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_DATABASE", "theirs")

    assert Settings().postgres_db == "theirs"


@pytest.mark.parametrize("name", ["HTTP_PORT", "NATS_URL", "SHARD_INDEX", "LOG_LEVEL"])
def test_names_without_our_prefix_are_not_read(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """They are common and belong to other programs."""
    monkeypatch.setenv(name, "7")

    assert Settings() == Settings(http_port=8082)
    assert Settings().http_port == 8082
    assert Settings().nats_url.get_secret_value() == "nats://localhost:4222"


def test_a_bad_value_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PORT", "many")
    with pytest.raises(ValidationError, match="POSTGRES_PORT"):
        Settings()


@pytest.mark.parametrize(
    ("name", "field", "default"),
    [("POSTGRES_PORT", "postgres_port", 5432), ("NOETL_HTTP_PORT", "http_port", 8082)],
)
def test_a_service_link_in_a_port_variable_counts_as_unset(
    monkeypatch: pytest.MonkeyPatch, name: str, field: str, default: int
) -> None:
    monkeypatch.setenv(name, "tcp://10.0.0.1:5432")
    with pytest.warns(UserWarning, match="service link"):
        settings = Settings()

    assert getattr(settings, field) == default


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().http_port = 1  # type: ignore[misc]


def test_login_and_servers_are_taken_from_the_address() -> None:
    settings = NatsSettings(
        nats_url=SecretStr("nats://us%40er:p%2Fw%3A@one:1,nats://two:2,three:3")
    )

    assert settings.nats_login() == ("us@er", "p/w:")
    assert settings.nats_servers() == ["nats://one:1", "nats://two:2", "nats://three:3"]


def test_an_address_without_login_has_none() -> None:
    assert NatsSettings(nats_url=SecretStr("nats://one:1")).nats_login() is None
    assert NatsSettings(nats_url=SecretStr("one:1")).nats_servers() == ["nats://one:1"]


@pytest.mark.parametrize(
    ("text", "kinds"), [("", set()), ("a", {"a"}), (" a , b_c,,a", {"a", "b_c"})]
)
def test_extra_tool_kinds_are_a_comma_list(
    monkeypatch: pytest.MonkeyPatch, text: str, kinds: set[str]
) -> None:
    monkeypatch.setenv("NOETL_EXTRA_TOOL_KINDS", text)

    assert kinds == PlaybookSettings().more_kinds()


def test_f29_what_is_in_effect_is_told_without_secrets_and_logins() -> None:
    settings = Settings(
        nats_url=SecretStr("nats://u:canary@h:1"),
        postgres_host="db",
        postgres_password=SecretStr("canary"),
        shards=SecretStr("host=a;user=u;password=canary"),
        public_server_url="http://u:canary@edge:8082/x",
        http_port=9,
    )

    told = settings.in_effect()

    assert (told["nats_servers"], told["postgres_host"]) == ("nats://h:1", "db")
    assert told["http_port"] == "9"
    assert (told["shard_count"], told["cluster_id"]) == ("1", "noetl")
    assert told["public_server_url"] == "http://edge:8082/x"
    assert "canary" not in str(told)


@pytest.mark.parametrize("password", ["can@ary", "can/ary", "can#ary", "can?ary"])
def test_f29_a_login_that_is_not_encoded_is_not_told_either(password: str) -> None:
    settings = Settings(
        nats_url=SecretStr(f"nats://u:{password}@h:1/, nats://g:2"),
        public_server_url=f"http://u:{password}@edge:8082/x,http://v:{password}@other",
    )

    told = settings.in_effect()

    assert told["nats_servers"] == "nats://h:1,nats://g:2"
    assert "ary" not in str(told)
    assert "can" not in str(told)
    assert told["public_server_url"].endswith("other")


def test_f29_addresses_without_a_login_are_told_whole() -> None:
    address = "http://edge:8082/x,https://other/y?z=1"

    assert Settings(public_server_url=address).in_effect()["public_server_url"] == address


def test_f29_a_variable_that_is_no_utf8_is_told_escaped() -> None:
    told = Settings(public_server_url="http://caf\udce9").in_effect()

    assert told["public_server_url"] == "http://caf\\udce9"
