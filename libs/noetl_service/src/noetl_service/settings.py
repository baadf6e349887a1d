"""Settings that services have and commands don't: port, end, keys."""

from noetl_common.environment.pieces import SettingsPiece
from noetl_common.settings import LogSettings, Port
from noetl_common.telemetry.settings import TracingFields
from pydantic import Field, SecretStr


class CommandKeySettings(SettingsPiece):
    """The key under which commands carry their capability."""

    command_key: SecretStr = SecretStr("")
    """Key that orchestrator and edge share: notifications carry the capability of their command,
    and what workers report must show it. Without it they carry none."""

    def command_key_bytes(self) -> bytes:
        """Return the key; empty when there is none."""
        return self.command_key.get_secret_value().encode()


class ServiceSettings(LogSettings, TracingFields):
    """Settings of every process: its port, its logs, its traces, its end."""

    http_host: str = "127.0.0.1"
    """Address the HTTP port is bound to."""
    http_port: Port = 8082
    """Port of health, metrics and routes."""
    build_revision: str = ""
    """Source of the image; shown by `noetl_build_info`."""
    shutdown_grace_seconds: float = Field(default=25.0, ge=0)
    """Time for work in flight after the signal to stop."""
    liveness_silence_seconds: float = Field(default=60.0, gt=0)
    """A loop silent for longer counts as stuck."""
    public_server_url: str = "http://localhost:8082"
    """Base address of the edge as workers reach it."""
