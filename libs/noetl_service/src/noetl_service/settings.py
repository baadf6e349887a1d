"""Settings of services, which commands don't have: port, shutdown and keys."""

from noetl_common.environment.pieces import SettingsPiece
from noetl_common.settings import LogSettings, Port
from noetl_common.telemetry.settings import TracingFields
from pydantic import Field, SecretStr


class CommandKeySettings(SettingsPiece):
    """The key that signs the capabilities of commands."""

    command_key: SecretStr = SecretStr("")
    """Key that orchestrators and the gateway share. With a key, the notification of a command
    contains a signed capability, and workers have to show it with each report. Without a key, there
    are no capabilities."""

    def command_key_bytes(self) -> bytes:
        """Return the key, or empty bytes if there is none."""
        return self.command_key.get_secret_value().encode()


class ServiceSettings(LogSettings, TracingFields):
    """Settings of every process: port, logs, traces and shutdown."""

    http_host: str = "127.0.0.1"
    """Address to which the HTTP port is bound."""
    http_port: Port = 8082
    """Port of health, metrics and routes."""
    build_revision: str = ""
    """Revision from which the image was built, as `noetl_build_info` shows it."""
    shutdown_grace_seconds: float = Field(default=25.0, ge=0)
    """Time for work in progress after the signal to stop."""
    liveness_silence_seconds: float = Field(default=60.0, gt=0)
    """Time without progress after which a loop counts as stuck."""
    public_server_url: str = "http://localhost:8082"
    """Base address of the gateway for workers."""
