"""Settings of the package, read where the worker runs."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_PORTS = {"http": 80, "https": 443}


class SnowflakeSettings(BaseSettings):
    """Settings of the operator for Snowflake; `NOETL_WORKER_SNOWFLAKE_…`."""

    model_config = SettingsConfigDict(
        env_prefix="NOETL_WORKER_SNOWFLAKE_", use_attribute_docstrings=True
    )

    servers: Annotated[frozenset[str], NoDecode] = frozenset()
    """Servers, by commas, that may be named beside Snowflake's own, as `https://host:port`."""
    login_seconds: int = Field(default=30, gt=0)
    """Timeout of a login."""
    sessions: int = Field(default=8, gt=0)
    """Sessions of this worker at once."""
    wait_seconds: float = Field(default=30.0, gt=0)
    """Longest wait for another session to end."""

    @field_validator("servers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return frozenset(_server(part.strip()) for part in value.split(",") if part.strip())


def _server(text: str) -> str:
    """Return an address in the one form that is compared.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(text)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"{text!r} is no address such as https://host:port")
    return f"{parts.scheme}://{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"
