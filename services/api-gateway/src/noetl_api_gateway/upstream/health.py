"""`/api/health` and readiness: the state of the broker and of the services' databases."""

import asyncio
import time
from importlib.metadata import version
from typing import Literal

from noetl_bus.broker import Bus
from noetl_bus.rpc import RpcClient, RpcRefused, RpcUnavailable
from noetl_contract.http.system.health import HealthAnswer, PoolStatusAnswer
from noetl_contract.rpc.catalog import RUNTIME_LIVENESS
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.orchestrator import POOL_STATUS
from noetl_contract.rpc.projector import EXECUTIONS_EXISTS, ExecutionName

from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.upstream.services import Services

type NatsState = Literal["connected", "reconnecting", "disconnected"]

_REMEMBER_SECONDS = 1.0
# A probe of readiness comes every second or so and costs statements.
_READY_SECONDS = 30.0
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
        """Readiness check: broker and databases are usable.

        They were a few seconds ago: an outage of the broker is noticed at once, one behind it with
        the next question.
        """
        last = self._last
        if (
            last is not None
            and last.status == "ok"
            and time.monotonic() - self._last_at < _READY_SECONDS
        ):
            return nats_state(self._bus) == "connected"
        return (await self.health()).status == "ok"

    async def pool_status(self) -> PoolStatusAnswer:
        """Return figures of the orchestrator's pool; zeros, at once, when none is there."""
        try:
            return await RpcClient(self._bus).ask(
                POOL_STATUS, Nothing(), shard=0, seconds=self._timeout_seconds
            )
        except (RpcUnavailable, RpcRefused):
            return PoolStatusAnswer()

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
        nobody, seconds = ExecutionName(execution_id=0), self._timeout_seconds
        answers = await asyncio.gather(
            self._services.forward(RUNTIME_LIVENESS, Nothing(), within=seconds),
            *(
                self._services.forward(EXECUTIONS_EXISTS, nobody, shard=shard, within=seconds)
                for shard in self._services.shards
            ),
            return_exceptions=True,
        )
        return all(
            answer.status < 500
            if isinstance(answer, Refusal)
            else not isinstance(answer, BaseException)
            for answer in answers
        )


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
