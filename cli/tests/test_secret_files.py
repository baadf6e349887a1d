"""Secrets of the command line in files."""

from pathlib import Path

import pytest
from noetl import main
from noetl.stack.services import outside, take_secret_files


def test_the_login_of_a_server_may_be_in_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("pass word\n")
    for name, value in {
        "POSTGRES_HOST": "db",
        "POSTGRES_PASSWORD_FILE": str(file),
        "NOETL_NATS_URL": "nats://broker:4222",
        "NATS_USER": "outbox",
        "NATS_PASSWORD_FILE": str(file),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("POSTGRES_PASSWORD", "")
    monkeypatch.setenv("NATS_PASSWORD", "")

    take_secret_files()
    found = outside()

    assert found.nats_url == "nats://outbox:pass%20word@broker:4222"
    assert found.databases is not None
    assert found.databases.cluster.password == "pass word"


def test_one_that_is_missing_is_one_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POSTGRES_CATALOG_PASSWORD_FILE", "/nowhere/password")
    monkeypatch.setattr("sys.argv", ["noetl-server", "db-roles"])

    with pytest.raises(SystemExit, match="1"):
        main.main()
    assert capsys.readouterr().err == (
        "noetl-server: POSTGRES_CATALOG_PASSWORD_FILE: /nowhere/password can't be read: "
        "No such file or directory\n"
    )
