"""`/health`, `/api/health` and `/api/pool/status`."""

from typing import Literal

from noetl_contract.model import Model, example


class LiveAnswer(Model):
    """The process answers; nothing outside it was asked."""

    status: Literal["ok"] = "ok"


class HealthAnswer(Model):
    """Health of the edge and its dependencies; 503 when `unhealthy`."""

    model_config = example(
        status="ok", database="connected", nats="connected", uptime_seconds=4211, version="0.1.0"
    )

    status: Literal["ok", "unhealthy"]
    database: Literal["connected", "disconnected"]
    nats: Literal["connected", "reconnecting", "disconnected"]
    uptime_seconds: int
    version: str


class PoolStatusAnswer(Model):
    """The orchestrator's connection pool; zeros and `unavailable` when it does not answer."""

    pool_min: int = 0
    pool_max: int = 0
    pool_size: int = 0
    pool_available: int = 0
    requests_waiting: int = 0
    utilization: float = 0.0
    slots_available: int = 0
    status: Literal["ok", "unavailable"] = "unavailable"
