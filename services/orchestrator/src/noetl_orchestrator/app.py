"""The orchestrator's process: what is opened, what is waited for, which loops run."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from noetl_common.bus.broker import connect
from noetl_common.bus.rpc import RpcClient, serve_rpc
from noetl_common.bus.topology import ensure_topology, run_topology_watch
from noetl_common.ids import lease_machine_id
from noetl_common.logging import get_logger
from noetl_common.pg.identity import check_identity
from noetl_common.pg.pool import open_pool, wait_for_schema
from noetl_common.service import Service, ServiceApp, create_service_app
from noetl_contract.streams import STREAMS, ingress_durable
from noetl_contract.subjects import rpc_subject
from noetl_engine.playbook import parse_playbook

from noetl_orchestrator.ingress.consumer import run_intake
from noetl_orchestrator.leases.children import ChildHandler, Children
from noetl_orchestrator.leases.sweeper import run_sweep
from noetl_orchestrator.leases.timers import run_timers
from noetl_orchestrator.leases.worker_liveness import run_liveness
from noetl_orchestrator.log.append_handlers import LogHandlers
from noetl_orchestrator.log.appends import Appends
from noetl_orchestrator.log.connections import make_pool_status
from noetl_orchestrator.log.purge_handler import PurgeHandler, run_partitions
from noetl_orchestrator.log.retention import Retention
from noetl_orchestrator.memory.playbooks import catalog_content
from noetl_orchestrator.memory.replicas import run_presence
from noetl_orchestrator.orchestrator import Parts, assemble
from noetl_orchestrator.settings import Settings
from noetl_orchestrator.upkeep import run_upkeep

_log = get_logger()

NAME = "orchestrator"
_SCHEMA = "0007"


def create_app(settings: Settings | None = None) -> ServiceApp:
    """Return the ASGI app: health, metrics, and the orchestrator behind them."""
    chosen = settings or Settings()

    @asynccontextmanager
    async def run(service: Service) -> AsyncIterator[None]:
        async with _running(service, chosen):
            yield

    return create_service_app(NAME, run, chosen)


@asynccontextmanager
async def _running(service: Service, settings: Settings) -> AsyncIterator[None]:
    durable = ingress_durable(settings.shard_index)
    turn_settings = settings.model_copy(
        update={
            "postgres_pool_min": settings.turns_in_flight,
            "postgres_pool_max": settings.turns_in_flight + 1,
        }
    )
    background_settings = settings.model_copy(
        update={"postgres_pool_min": 1, "postgres_pool_max": settings.background_pool_max}
    )
    async with (
        connect(settings, name=NAME) as bus,
        open_pool(turn_settings, name=NAME) as turn_pool,
        open_pool(background_settings, name=f"{NAME}-background") as background_pool,
    ):
        service.ready_when("bus", bus.is_ready)
        await wait_for_schema(background_pool, _SCHEMA)
        await ensure_topology(bus, STREAMS, (durable,))
        rpc = RpcClient(bus)
        holder = f"{NAME}:{socket.gethostname()}:{os.getpid()}"
        async with lease_machine_id(rpc, holder) as ids:
            service.ready_when("ids", ids.is_ready)
            parts = assemble(
                settings,
                bus=bus,
                turn_pool=turn_pool,
                background_pool=background_pool,
                ids=ids,
                fetch_content=catalog_content(rpc),
                parse=partial(parse_playbook, more_kinds=settings.more_kinds()),
            )
            await check_identity(background_pool, settings, shard=settings.shard_index)
            parts.clock.set(await parts.store.read_clock())
            service.ready_when("database", parts.store.read_clock)
            claim, child, pool_status = (
                rpc_subject(NAME, operation, shard=settings.shard_index)
                for operation in ("claim", "child", "pool.status")
            )
            on_child = ChildHandler(
                Children(background_pool),
                shard=settings.shard_index,
                shard_count=settings.shard_count,
            )
            on_pool_status = make_pool_status(
                turn_pool,
                kept=parts.store.count_kept_connections,
                waiting=lambda: len(parts.dispatcher),
            )
            retention = Retention(background_pool)
            log_handlers = LogHandlers(
                Appends(background_pool),
                on_moved=parts.replicas.forget_and_tell,
                new_id=ids.next,
                shard=settings.shard_index,
                shard_count=settings.shard_count,
            )
            purge = PurgeHandler(
                retention,
                shard=settings.shard_index,
                commands_at_once=settings.purge_commands_max,
            )
            async with (
                running_turns(parts, count=settings.turns_in_flight, service=service),
                serve_rpc(
                    bus,
                    {
                        claim: parts.on_claim,
                        child: on_child,
                        pool_status: on_pool_status,
                        **log_handlers.routes(),
                        **purge.routes(),
                    },
                    queue=NAME,
                    concurrency=settings.claims_at_once,
                ),
            ):
                _spawn_loops(service, settings, parts, rpc)
                service.spawn("topology", run_topology_watch(bus, STREAMS, (durable,)))
                service.spawn(
                    "partitions",
                    run_partitions(
                        retention,
                        ahead_days=settings.partitions_ahead_days,
                        beat=service.beater("partitions"),
                    ),
                )
                service.spawn(
                    "intake",
                    run_intake(
                        bus,
                        durable,
                        parts.on_batch,
                        window=settings.ingress_window,
                        beat=service.beater("intake"),
                    ),
                )
                yield


@asynccontextmanager
async def running_turns(
    parts: Parts, *, count: int, service: Service | None = None
) -> AsyncIterator[None]:
    """Run turns while the block lasts: longer than whatever waits for their outcome."""

    async def run(name: str) -> None:
        try:
            beat = service.beater(name) if service is not None else lambda: None
            await parts.dispatcher.run_turns(parts.turns.run, beat)
        except Exception as error:  # task supervisor: any error ends the process
            _log.error("loop_failed", loop=name, exc_info=error)
            if service is None:
                raise
            service.fail(error)

    tasks = [asyncio.create_task(run(f"turns-{number}")) for number in range(count)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        parts.playbooks.close()
        await parts.store.close()
    for result in results:
        if isinstance(result, Exception):
            raise result


def _spawn_loops(service: Service, settings: Settings, parts: Parts, rpc: RpcClient) -> None:
    service.spawn(
        "liveness",
        run_liveness(
            parts.liveness,
            rpc,
            interval_seconds=settings.liveness_seconds,
            beat=service.beater("liveness"),
        ),
    )
    service.spawn("replicas", run_presence(parts.replicas, beat=service.beater("replicas")))
    service.spawn(
        "leases",
        run_sweep(
            parts.sweeper,
            interval_seconds=settings.lease_sweep_seconds,
            beat=service.beater("leases"),
        ),
    )
    service.spawn(
        "timers",
        run_timers(
            parts.store,
            parts.dispatcher,
            interval_seconds=settings.timer_poll_seconds,
            lease_seconds=settings.timer_lease_seconds,
            limit=settings.timer_batch,
            beat=service.beater("timers"),
        ),
    )
    service.spawn(
        "upkeep",
        run_upkeep(
            parts.store,
            parts.clock,
            parts.cache,
            parts.dispatcher,
            request_key_seconds=settings.request_key_seconds,
            beat=service.beater("upkeep"),
        ),
    )
