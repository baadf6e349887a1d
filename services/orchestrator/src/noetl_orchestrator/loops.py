"""The loops of an orchestrator process."""

import asyncio
from collections.abc import Callable

from noetl_common.bus.broker import Bus
from noetl_common.bus.rpc import RpcClient
from noetl_common.bus.topology import run_topology_watch
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_common.service import Service
from noetl_contract.streams import STREAMS, ingress_durable

from noetl_orchestrator import metrics
from noetl_orchestrator.ingress.consumer import run_consumer
from noetl_orchestrator.leases.sweeper import run_sweep
from noetl_orchestrator.leases.timers import run_timers
from noetl_orchestrator.leases.worker_liveness import run_liveness
from noetl_orchestrator.log.purge_handler import run_partitions
from noetl_orchestrator.memory.replicas import run_presence
from noetl_orchestrator.orchestrator import Orchestrator
from noetl_orchestrator.settings import Settings

_log = get_logger()
_UPKEEP_SECONDS = 5.0
_PURGE_EVERY = 60
_PURGE_LIMIT = 5_000


def spawn_loops(
    service: Service, settings: Settings, orchestrator: Orchestrator, *, bus: Bus, rpc: RpcClient
) -> None:
    """Start the loops; the service stops them."""
    durable = ingress_durable(settings.shard_index)
    _spawn_leases(service, settings, orchestrator, rpc)
    service.spawn(
        "replicas", run_presence(orchestrator.memory.replicas, beat=service.beater("replicas"))
    )
    service.spawn(
        "upkeep",
        run_upkeep(
            orchestrator,
            request_key_seconds=settings.request_key_seconds,
            beat=service.beater("upkeep"),
        ),
    )
    service.spawn("topology", run_topology_watch(bus, STREAMS, (durable,)))
    service.spawn(
        "partitions",
        run_partitions(
            orchestrator.log.retention,
            ahead_days=settings.partitions_ahead_days,
            beat=service.beater("partitions"),
        ),
    )
    service.spawn(
        "intake",
        run_consumer(
            bus,
            durable,
            orchestrator.ingress.on_batch,
            window=settings.ingress_window,
            beat=service.beater("intake"),
        ),
    )


def _spawn_leases(
    service: Service, settings: Settings, orchestrator: Orchestrator, rpc: RpcClient
) -> None:
    service.spawn(
        "liveness",
        run_liveness(
            orchestrator.leases.liveness,
            rpc,
            interval_seconds=settings.liveness_seconds,
            beat=service.beater("liveness"),
        ),
    )
    service.spawn(
        "leases",
        run_sweep(
            orchestrator.leases.sweeper,
            interval_seconds=settings.lease_sweep_seconds,
            beat=service.beater("leases"),
        ),
    )
    service.spawn(
        "timers",
        run_timers(
            orchestrator.log.store,
            orchestrator.turn.dispatcher,
            interval_seconds=settings.timer_poll_seconds,
            lease_seconds=settings.timer_lease_seconds,
            limit=settings.timer_batch,
            beat=service.beater("timers"),
        ),
    )


async def run_upkeep(
    orchestrator: Orchestrator,
    *,
    request_key_seconds: float,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Correct the clock, update the gauges and purge old request keys, until cancelled."""
    store, memory = orchestrator.log.store, orchestrator.memory
    rounds = 0
    while True:
        beat()
        metrics.CACHE_EXECUTIONS.set(len(memory.cache))
        metrics.CACHE_BYTES.set(memory.cache.bytes)
        metrics.WAITING_INPUTS.set(len(orchestrator.turn.dispatcher))
        try:
            if memory.clock.age_seconds > _UPKEEP_SECONDS:
                memory.clock.set(await store.read_clock())
            if rounds % _PURGE_EVERY == 0:
                await store.purge_request_keys(
                    older_than_seconds=request_key_seconds, limit=_PURGE_LIMIT
                )
        except NoetlError as error:
            _log.warning("upkeep_failed", error=error.message)
        rounds += 1
        await asyncio.sleep(_UPKEEP_SECONDS)
