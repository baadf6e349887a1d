"""Sources of settings, as shown to operators; secrets are never shown."""

from pathlib import Path

import pytest
from noetl_common.environment.pieces import SettingsPiece
from pydantic import Field, SecretStr


class Some(SettingsPiece):
    """Of each kind one."""

    pause_seconds: float = Field(default=1.0)
    broker_url: str = Field(default="nats://localhost")
    token: SecretStr = Field(default=SecretStr(""))
    other_token: SecretStr = Field(default=SecretStr(""))
    derived: int = Field(default=0)
    no_token: SecretStr = Field(default=SecretStr(""))


def test_settings_tell_their_source_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("hidden-in-a-file\n")
    monkeypatch.setenv("NOETL_BROKER_URL", "nats://user:hidden-in-an-address@host")
    monkeypatch.setenv("NOETL_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("NOETL_OTHER_TOKEN", "hidden")

    told = {one.name: (one.value, one.source) for one in Some(derived=3).with_sources()}

    assert told == {
        "pause_seconds": ("1.0", "default"),
        "broker_url": ("nats://host", "environment"),
        "token": (None, "file"),
        "other_token": (None, "environment"),
        "derived": ("3", "given"),
        "no_token": ("", "default"),
    }
