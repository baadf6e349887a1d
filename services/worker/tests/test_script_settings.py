"""Settings of the paths and ports that scripts may reach."""

import pytest
from noetl_worker.settings import Settings
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("text", "ports"),
    [("all", None), ("none", ()), (" None ", ()), ("80, 443", (80, 443))],
)
def test_ports_are_read(text: str, ports: tuple[int, ...] | None) -> None:
    assert Settings(worker_script_network=text).script_ports() == ports


@pytest.mark.parametrize("text", ["http", "0", "70000", "80,,443"])
def test_what_is_no_port_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValidationError, match="no port of scripts"):
        Settings(worker_script_network=text)


def test_paths_are_divided_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOETL_WORKER_SCRIPT_READ_PATHS", "/data, /mnt/x")
    monkeypatch.setenv("NOETL_WORKER_SCRIPT_WRITE_PATHS", "")

    settings = Settings()

    assert settings.worker_script_read_paths == ("/data", "/mnt/x")
    assert settings.worker_script_write_paths == ()


def test_a_relative_path_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOETL_WORKER_SCRIPT_READ_PATHS", "data")

    with pytest.raises(ValidationError, match="has to begin with /: data"):
        Settings()
