"""The loops of an orchestrator process."""

import asyncio
from collections.abc import Awaitable, Callable

from noetl_bus.broker import Bus
from noetl_bus.rpc import RpcClient
from noetl_bus.topology import run_topology_watch
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.streams import STREAMS, ingress_durable
from noetl_contract.subjects import PAUSE_HINT, TRIGGER_HINT
from noetl_service.service import Service, every

from noetl_orchestrator import metrics
from noetl_orchestrator.hang_watch import run_hang_watch
from noetl_orchestrator.leases.timers import take_due_timers
from noetl_orchestrator.orchestrator import Orchestrator
from noetl_orchestrator.replicas.replicas import run_presence
from noetl_orchestrator.settings import Settings

_log = get_logger()
_UNCLAIMED_EVERY = 5
_UPKEEP_SECONDS = 5.0
_CLOCK_SECONDS = 15.0
_BEAT_SECONDS = 5.0
_PARTITIONS_SECONDS = 600.0
_PURGE_SECONDS = 300.0
_PURGE_LIMIT = 5_000


def spawn_loops(
    service: Service, settings: Settings, orchestrator: Orchestrator, *, bus: Bus, rpc: RpcClient
) -> None:
    """Start the loops; the service stops them."""
    store, sweeper = orchestrator.store, orchestrator.sweeper

    def repeat(
        name: str, seconds: float, step: Callable[[], Awaitable[object]], warning: str
    ) -> None:
        service.spawn(name, every(seconds, step, warning=warning, beat=service.beater(name)))

    _spawn_sweeps(settings, orchestrator, repeat)

    async def ask() -> None:
        await orchestrator.liveness.ask(rpc)
        await sweeper.hand_out()

    async def ask_in_time() -> None:
        if not orchestrator.liveness.rest(is_busy=orchestrator.agenda.has_leases):
            await ask()

    repeat("liveness", settings.liveness_seconds, ask_in_time, "liveness_unknown")

    async def ask_triggers() -> None:
        await orchestrator.triggers.ask(rpc)

    repeat("triggers", settings.trigger_refresh_seconds, ask_triggers, "triggers_unknown")
    service.spawn("pauses", _hear(bus, PAUSE_HINT, ask, "pauses_not_read"))
    service.spawn("changes of triggers", _hear(bus, TRIGGER_HINT, ask_triggers, "triggers_unknown"))
    service.spawn("timers", run_timers(orchestrator, settings, beat=service.beater("timers")))
    repeat("upkeep", _UPKEEP_SECONDS, lambda: _keep_time(orchestrator), "upkeep_failed")
    repeat(
        "request keys",
        _PURGE_SECONDS,
        lambda: store.purge_request_keys(
            older_than_seconds=settings.request_key_seconds, limit=_PURGE_LIMIT
        ),
        "upkeep_failed",
    )
    repeat(
        "partitions",
        _PARTITIONS_SECONDS,
        lambda: orchestrator.retention.keep_partitions(ahead_days=settings.partitions_ahead_days),
        "partitions_not_kept",
    )
    _spawn_intake(service, settings, orchestrator, bus=bus)


def _spawn_sweeps(
    settings: Settings,
    orchestrator: Orchestrator,
    repeat: Callable[[str, float, Callable[[], Awaitable[object]], str], None],
) -> None:
    """Start the loops over held and unclaimed commands, which rest while there are none."""
    agenda, sweeper = orchestrator.agenda, orchestrator.sweeper
    seconds = settings.lease_sweep_seconds

    async def sweep() -> None:
        if (agenda.is_lease_over() or sweeper.has_news()) and await sweeper.sweep():
            await agenda.ask()

    async def sweep_unclaimed() -> None:
        if agenda.has_pending:
            await sweeper.sweep_unclaimed()

    repeat("agenda", settings.agenda_seconds, agenda.ask, "agenda_unknown")
    repeat("leases", seconds, sweep, "sweep_failed")
    repeat("unclaimed", _UNCLAIMED_EVERY * seconds, sweep_unclaimed, "sweep_failed")


async def run_timers(
    orchestrator: Orchestrator, settings: Settings, *, beat: Callable[[], None] = lambda: None
) -> None:
    """Take timers when they are due, until cancelled."""
    agenda, replicas = orchestrator.agenda, orchestrator.replicas
    while True:
        beat()
        if not await agenda.wait_for_timer(_BEAT_SECONDS):
            continue
        if not replicas.is_active:
            # The replicas that have the executions in memory take them.
            await asyncio.sleep(settings.timer_poll_seconds)
            continue
        try:
            await take_due_timers(orchestrator.store, orchestrator.dispatcher, settings, beat)
            await agenda.ask()
        except NoetlError as error:
            _log.warning("timers_not_read", error=error.message)
        await asyncio.sleep(settings.timer_poll_seconds)


def _spawn_intake(
    service: Service, settings: Settings, orchestrator: Orchestrator, *, bus: Bus
) -> None:
    service.spawn("door", orchestrator.door.run(beat=service.beater("door")))
    service.spawn("hangs", run_hang_watch(settings.hang_exit_seconds, beat=service.beater("hangs")))
    service.spawn("replicas", run_presence(orchestrator.replicas, beat=service.beater("replicas")))
    service.spawn("pools", orchestrator.pools.run())
    durables = [ingress_durable(settings.shard_index)]
    service.spawn("topology", run_topology_watch(bus, STREAMS, durables))
    service.spawn("intake", orchestrator.spill_reader.run(beat=service.beater("intake")))


async def _hear(bus: Bus, subject: str, ask: Callable[[], Awaitable[None]], warning: str) -> None:
    """Call a function at each hint on a subject, until cancelled."""
    changed = asyncio.Event()
    subscription = await bus.subscribe(subject, lambda _hint: changed.set())
    try:
        while True:
            await changed.wait()
            changed.clear()
            try:
                await ask()
            except NoetlError as error:
                _log.warning(warning, error=error.message)
    finally:
        await subscription.unsubscribe()


async def _keep_time(orchestrator: Orchestrator) -> None:
    """Correct the clock, drop ended executions from memory, and update the gauges."""
    clock, cache = orchestrator.clock, orchestrator.cache
    cache.forget_ended()
    metrics.CACHE_EXECUTIONS.set(len(cache))
    metrics.CACHE_BYTES.set(cache.bytes)
    metrics.WAITING_INPUTS.set(len(orchestrator.dispatcher))
    if clock.age_seconds > _CLOCK_SECONDS:
        asked_at = clock.reading()
        clock.set(await orchestrator.store.read_clock(), asked_at=asked_at)
