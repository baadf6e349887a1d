"""`/health`, `/api/health`, `/api/pool/status`, `/metrics` (http-a 2, operations 3)."""

import time

import orjson
from litestar import Response, get
from noetl_common.metrics import render
from noetl_contract.http.health import HealthAnswer, LiveAnswer, PoolStatusAnswer
from pydantic import BaseModel

from noetl_api_gateway.edge import EdgeService, TheService
from noetl_api_gateway.health import health_of_starting
from noetl_api_gateway.openapi import documented

__all__ = ["health", "live", "metrics", "pool_status"]

# The framework adds the charset (http-a 2.4).
_TEXT_FORMAT = "text/plain; version=0.0.4"
_STARTED = time.monotonic()


@get(
    "/health",
    summary="Whether the process answers",
    tags=["health"],
    operation_class=documented(None, LiveAnswer),
)
async def live() -> Response[bytes]:
    """Answer without asking anybody."""
    return _model(LiveAnswer())


@get(
    "/api/health",
    summary="Whether requests can be served now",
    tags=["health"],
    operation_class=documented(None, HealthAnswer, others={503: HealthAnswer}),
)
async def health(service: TheService) -> Response[bytes]:
    """Tell how broker and database are; 503 when one is not usable."""
    answer = await _health(service)
    return _model(answer, status=200 if answer.status == "ok" else 503)


@get(
    "/api/pool/status",
    summary="The orchestrator's connection pool",
    tags=["health"],
    operation_class=documented(None, PoolStatusAnswer),
)
async def pool_status(service: TheService) -> Response[bytes]:
    """Tell how busy the pool is that executions run on."""
    edge = service.edge
    return _model(PoolStatusAnswer() if edge is None else await edge.probe.pool_status())


@get("/metrics", include_in_schema=False)
async def metrics() -> Response[bytes]:
    """Serve the process's metrics."""
    return Response(render(), media_type=_TEXT_FORMAT)


async def _health(service: EdgeService) -> HealthAnswer:
    if service.edge is None:
        return health_of_starting(int(time.monotonic() - _STARTED))
    return await service.edge.probe.health()


def _model(answer: BaseModel, *, status: int = 200) -> Response[bytes]:
    body = orjson.dumps(answer.model_dump())
    return Response(body, status_code=status, media_type="application/json")
