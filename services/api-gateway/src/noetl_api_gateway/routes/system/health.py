"""`/health`, `/api/health`, `/api/pool/status`, `/metrics`."""

import time

from litestar import Response, get
from noetl_contract.access.rights import Right
from noetl_contract.http.system.health import HealthAnswer, LiveAnswer, PoolStatusAnswer

from noetl_api_gateway.gateway import TheProcess
from noetl_api_gateway.http.answers import plain_answer
from noetl_api_gateway.routes.forwarding import Topic
from noetl_api_gateway.upstream.health import health_of_starting

TOPIC = Topic("health")

# The framework adds the charset.
_TEXT_FORMAT = "text/plain; version=0.0.4"
_STARTED = time.monotonic()


@TOPIC.route("GET /health", LiveAnswer, needs=Right.PUBLIC, summary="Whether the process answers")
async def live() -> Response[bytes]:
    """Answer without asking any service."""
    return plain_answer(LiveAnswer(status="ok"))


@TOPIC.route(
    "GET /api/health",
    HealthAnswer,
    needs=Right.PUBLIC,
    summary="Whether requests can be served now",
    others={503: HealthAnswer},
)
async def health(service: TheProcess) -> Response[bytes]:
    """Return the state of broker and database; 503 when one is not usable."""
    if service.gateway is None:
        answer = health_of_starting(int(time.monotonic() - _STARTED))
    else:
        answer = await service.gateway.probe.health()
    return plain_answer(answer, 200 if answer.status == "ok" else 503)


@TOPIC.route(
    "GET /api/pool/status",
    PoolStatusAnswer,
    needs=Right.SERVICE_READ,
    summary="The orchestrator's connection pool",
)
async def pool_status(service: TheProcess) -> Response[bytes]:
    """Return the load of the pool that executions run on."""
    gateway = service.gateway
    answer = PoolStatusAnswer() if gateway is None else await gateway.probe.pool_status()
    return plain_answer(answer.model_dump())


@get("/metrics", include_in_schema=False, opt={"needs": Right.METRICS_READ})
async def metrics(service: TheProcess) -> Response[bytes]:
    """Serve the process's metrics."""
    return Response(await service.measured(), media_type=_TEXT_FORMAT)
