"""Secrets of broker and database from files."""

from pathlib import Path

import pytest
from noetl_bus.settings import NatsSettings
from noetl_common.environment.pieces import SettingsPiece
from noetl_common.environment.secret_files import BadSecretFile
from noetl_pg.settings import ClusterDatabaseSettings, ShardDatabaseSettings
from pydantic import AliasChoices, Field, SecretStr


class Settings(NatsSettings, ShardDatabaseSettings):
    """As a service composes them, with the two kinds of a secret that ours don't have."""

    url: SecretStr = Field(default=SecretStr(""), validation_alias=AliasChoices("NOETL_URL", "URL"))
    vault: SecretStr = SecretStr("")
    vault_file: str = ""
    maybe: SecretStr | None = None


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("pass word\n")
    return path


@pytest.mark.parametrize(
    ("variable", "field"),
    [
        ("NATS_PASSWORD", "nats_password"),
        ("POSTGRES_PASSWORD", "postgres_password"),
        ("URL", "url"),
        ("NOETL_URL", "url"),
        ("NOETL_MAYBE", "maybe"),
    ],
)
def test_a_setting_that_is_a_secret_is_read_from_its_file(
    monkeypatch: pytest.MonkeyPatch, file: Path, variable: str, field: str
) -> None:
    monkeypatch.setenv(variable, "")  # as compose sets what .env doesn't have
    monkeypatch.setenv(f"{variable}_FILE", str(file))
    settings = Settings()

    assert getattr(settings, field).get_secret_value() == "pass word"
    assert "pass word" not in str(settings.in_effect())


def test_what_is_no_secret_or_has_a_setting_of_that_name_is_not(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    monkeypatch.setenv("POSTGRES_HOST_FILE", str(file))
    monkeypatch.setenv("NOETL_VAULT_FILE", str(file))
    settings = Settings()

    assert (settings.postgres_host, settings.vault_file) == ("localhost", str(file))
    assert not settings.vault.get_secret_value()


def test_given_twice_is_an_error_that_names_both(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    monkeypatch.setenv("NATS_PASSWORD", "another")
    monkeypatch.setenv("NATS_PASSWORD_FILE", str(file))

    with pytest.raises(BadSecretFile, match="NATS_PASSWORD and NATS_PASSWORD_FILE") as caught:
        Settings()
    assert "another" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "can't be read: No such file or directory"),
        (b"\n\n", "is empty"),
        (b"\xff\xfe", "holds no text"),
        (b"x" * (1 << 20) + b"x", "has more than 1048576 bytes"),
    ],
)
def test_a_file_that_holds_no_secret_is_an_error_with_variable_and_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, problem: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("POSTGRES_PASSWORD_FILE", str(path))

    with pytest.raises(BadSecretFile, match=f"POSTGRES_PASSWORD_FILE: {path} {problem}"):
        Settings()


def test_the_shard_map_may_be_in_a_file_and_its_password_in_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: Path
) -> None:
    shards = tmp_path / "shards"
    shards.write_text(f"host=a;user=u;password_file={file},host=b;user=u;password=own\n")
    monkeypatch.setenv("NOETL_SHARDS_FILE", str(shards))

    def password(index: int) -> tuple[str, str]:
        settings = Settings(shard_index=index)
        return settings.postgres_host, settings.postgres_password.get_secret_value()

    assert (password(0), password(1)) == (("a", "pass word"), ("b", "own"))
    assert ClusterDatabaseSettings().postgres_password.get_secret_value() == "pass word"


def test_settings_given_in_code_come_first(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setenv("NOETL_MAYBE_FILE", str(file))

    assert Settings(maybe=SecretStr("code")).maybe == SecretStr("code")
    assert issubclass(Settings, SettingsPiece)
