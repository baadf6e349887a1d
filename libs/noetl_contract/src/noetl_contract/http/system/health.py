"""`/health`, `/api/health` and `/api/pool/status`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["HealthAnswer", "LiveAnswer", "PoolStatusAnswer"]

_MODEL = ConfigDict(frozen=True, extra="ignore")


class LiveAnswer(BaseModel):
    """The process answers; nothing outside it was asked."""

    model_config = _MODEL

    status: Literal["ok"] = "ok"


class HealthAnswer(BaseModel):
    """Whether requests can be served now; 503 when `unhealthy`."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "status": "ok",
                    "database": "connected",
                    "nats": "connected",
                    "uptime_seconds": 4211,
                    "version": "0.1.0",
                }
            ]
        },
    )

    status: Literal["ok", "unhealthy"]
    database: Literal["connected", "disconnected"]
    nats: Literal["connected", "reconnecting", "disconnected"]
    uptime_seconds: int
    version: str


class PoolStatusAnswer(BaseModel):
    """The orchestrator's connection pool; zeros and `unavailable` when it does not answer."""

    model_config = _MODEL

    pool_min: int = 0
    pool_max: int = 0
    pool_size: int = 0
    pool_available: int = 0
    requests_waiting: int = 0
    utilization: float = 0.0
    slots_available: int = 0
    status: Literal["ok", "unavailable"] = "unavailable"
