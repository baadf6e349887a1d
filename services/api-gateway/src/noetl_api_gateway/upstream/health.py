"""`/api/health` and readiness: the state of the broker and of the services' databases."""

import asyncio
import time
from importlib.metadata import version
from typing import Literal

from noetl_common.bus.broker import Bus
from noetl_contract.http.system.health import HealthAnswer, PoolStatusAnswer
from noetl_contract.rpc import RpcReply

from noetl_api_gateway.upstream.services import Services

type NatsState = Literal["connected", "reconnecting", "disconnected"]

_REMEMBER_SECONDS = 1.0
_VERSION = version("noetl-api-gateway")


class HealthProbe:
    """Check broker and services; callers within one second share a check."""

    def __init__(self, bus: Bus, services: Services, *, timeout_seconds: float) -> None:
        self._bus = bus
        self._services = services
        self._timeout_seconds = timeout_seconds
        self._started = time.monotonic()
        self._lock = asyncio.Lock()
        self._last: HealthAnswer | None = None
        self._last_at = 0.0

    async def health(self) -> HealthAnswer:
        """Return the present state."""
        async with self._lock:
            if self._last is None or time.monotonic() - self._last_at > _REMEMBER_SECONDS:
                self._last = await self._probe()
                self._last_at = time.monotonic()
            return self._last

    async def is_ok(self) -> bool:
        """Readiness check: broker and databases are usable."""
        return (await self.health()).status == "ok"

    async def pool_status(self) -> PoolStatusAnswer:
        """Return figures of the orchestrator's pool; zeros when it does not answer."""
        reply = await self._services.pool_status(timeout_seconds=self._timeout_seconds)
        if reply is None or reply.status != 200:
            return PoolStatusAnswer()
        return PoolStatusAnswer.model_validate(reply.body)

    async def _probe(self) -> HealthAnswer:
        broker = nats_state(self._bus)
        has_database = broker == "connected" and await self._has_database()
        return HealthAnswer(
            status="ok" if has_database else "unhealthy",
            database="connected" if has_database else "disconnected",
            nats=broker,
            uptime_seconds=int(time.monotonic() - self._started),
            version=_VERSION,
        )

    async def _has_database(self) -> bool:
        """Ask a service on each side for something that needs its database."""
        timeout = self._timeout_seconds
        answers = await asyncio.gather(
            self._services.catalog("runtime.liveness", {}, timeout_seconds=timeout),
            *(
                self._services.projector(
                    "executions.exists", {"execution_id": 0}, shard=i, timeout_seconds=timeout
                )
                for i in range(self._services.shard_count)
            ),
            return_exceptions=True,
        )
        return all(isinstance(answer, RpcReply) and answer.status < 500 for answer in answers)


def nats_state(bus: Bus) -> NatsState:
    """Return the state of the connection to the broker."""
    if bus.is_closed:
        return "disconnected"
    return "connected" if bus.is_connected else "reconnecting"


def health_of_starting(uptime_seconds: int) -> HealthAnswer:
    """Return the health of an edge that waits for its broker still."""
    return HealthAnswer(
        status="unhealthy",
        database="disconnected",
        nats="disconnected",
        uptime_seconds=uptime_seconds,
        version=_VERSION,
    )
