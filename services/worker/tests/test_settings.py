"""Settings of the original worker, and of a pool."""

from pathlib import Path

import pytest
from noetl_worker.app import _secrets
from noetl_worker.settings import Settings
from pydantic import ValidationError

SHARED = ("NOETL_COMMANDS", "noetl_worker_pool_shared", "noetl.commands.shared.>")


@pytest.mark.parametrize(
    ("env", "durable"),
    [
        ({}, SHARED),
        ({"WORKER_POOL_NAME": "default"}, SHARED),
        (
            {"WORKER_POOL_NAME": "gpu"},
            ("NOETL_COMMANDS", "noetl_worker_pool_gpu", "noetl.commands.gpu.>"),
        ),
        (
            {"NATS_STREAM": "S", "NATS_CONSUMER": "C", "NATS_FILTER_SUBJECT": "noetl.commands.x.>"},
            ("S", "C", "noetl.commands.x.>"),
        ),
    ],
)  # fmt: skip
def test_the_durable_is_that_of_the_pool(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], durable: tuple[str, str, str]
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    spec = Settings().durable()

    assert durable == (spec.stream, spec.name, spec.filter_subject)


@pytest.mark.parametrize("seconds", ["0", "-1"])
def test_a_start_is_told_while_the_tool_is_at_work(
    monkeypatch: pytest.MonkeyPatch, seconds: str
) -> None:
    monkeypatch.setenv("NOETL_WORKER_START_AFTER_SECONDS", seconds)

    with pytest.raises(ValidationError) as refused:
        Settings()

    assert "NOETL_WORKER_START_AFTER_SECONDS has to be above 0" in str(refused.value)
    assert "NOETL_FAST_PATH_ENABLED=false" in str(refused.value)


def test_settings_of_the_reference_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_URL", "nats://elsewhere:4222")
    monkeypatch.setenv("NATS_USER", "u")
    monkeypatch.setenv("NATS_PASSWORD", "p@ss")
    monkeypatch.setenv("WORKER_METRICS_BIND", "0.0.0.0:9191")
    monkeypatch.setenv("WORKER_MAX_CONCURRENT", "3")
    monkeypatch.setenv("NOETL_SNOWFLAKE_NODE_ID", "1025")

    settings = Settings()

    assert settings.nats_servers() == ["nats://elsewhere:4222"]
    assert settings.nats_login() == ("u", "p@ss")
    assert (settings.http_host, settings.http_port) == ("0.0.0.0", 9191)  # noqa: S104
    assert settings.worker_max_concurrent == 3


def test_a_variable_that_tools_may_use_can_be_in_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("of the pool\n")
    monkeypatch.setenv("NOETL_INTERNAL_API_TOKEN_FILE", str(file))

    found = _secrets(Settings(keychain_env_vars="NOETL_INTERNAL_API_TOKEN,OTHER"))

    assert found["NOETL_INTERNAL_API_TOKEN"][0] == "of the pool"


@pytest.mark.parametrize("address", ["", "edge:8082", "ftp://edge", "http:///path"])
def test_an_address_that_is_none_is_refused_by_name(address: str) -> None:
    with pytest.raises(ValidationError, match="server_url"):
        Settings(server_url=address)
